"""Wrapped functions, in a module that the test generates."""

import unittest

import fakes  # noqa: F401 (puts the package on the path)

from wasgi import recursion
from wasgi.recursion import LayoutError, guarded


def vector(*items):
    return recursion._leb(len(items)) + b"".join(items)


def text(value):
    return vector(*(bytes([byte]) for byte in value))


def section(number, content):
    return bytes([number]) + recursion._leb(len(content)) + content


def component(module):
    return b"\0asm\x0d\0\1\0" + section(1, module) + section(0, text(b"end") + b"x")


def module(*, calls=b"\x10\x01", name=b"leaf", other=b"x"):
    """Returns a module that imports a function and the stack pointer, and has a guard, a function
    that may call it, and another function."""
    types = vector(b"\x60" + vector(b"\x7f", b"\x7e") + vector(b"\x7f"), b"\x60\0\0")
    imports = vector(
        text(b"env") + text(b"f") + b"\0\0",
        text(b"env") + text(b"memory") + b"\x02\x01\x01\x02",
        text(b"env") + text(b"__stack_pointer") + b"\x03\x7f\x01",
    )
    functions = vector(b"\x01", b"\x00", b"\x00")
    exports = vector(text(b"_Py_CheckRecursiveCall") + b"\0\x01", text(other) + b"\0\x02")
    bodies = [b"\0\x0b", b"\0" + calls + b"\x20\0\x0b", b"\0\x20\0\x0b"]
    code = vector(*(recursion._leb(len(body)) + body for body in bodies))
    named = vector(b"\x03" + text(name))
    names = text(b"name") + section(1, named)
    return (
        b"\0asm\1\0\0\0" + section(1, types) + section(2, imports) + section(3, functions)
        + section(7, exports) + section(10, code) + section(0, names)
    )  # fmt: skip


def bodies(built):
    outer = next(each for each in recursion._sections(built, 8, len(built)) if each.number == 1)
    inner = built[outer.start : outer.end]
    sections = {each.number: each for each in recursion._sections(inner, 8, len(inner))}
    kinds = recursion._kinds(inner, sections[3])
    return kinds, [inner[start:end] for start, end in recursion._bodies(inner, sections[10])]


#: `address -= 1024; inner(a, b); address += 1024`, without the index of `inner`.
STEP = (b"\0\x23\0\x41\x80\x06\x6b\x24\0\x20\0\x20\1\x10", b"\x23\0\x41\x80\x06\x6a\x24\0\x0b")


class Guarded(unittest.TestCase):
    def test_a_function_that_asks_the_guard_is_behind_a_small_one(self):
        for call in (b"\x10\x01", b"\x10\x81\x80\x80\x80\0"):
            kinds, found = bodies(guarded(component(module(calls=call))))
            self.assertEqual(kinds, [1, 0, 0, 0])
            self.assertEqual(found[1], STEP[0] + b"\x04" + STEP[1])
            self.assertEqual(found[3], b"\0" + call + b"\x20\0\x0b")
            self.assertEqual((found[0], found[2]), (b"\0\x0b", b"\0\x20\0\x0b"))

    def test_a_function_that_frees_is_too_unless_it_refers_to_nothing(self):
        _, found = bodies(guarded(component(module(calls=b"", name=b"list_dealloc"))))
        self.assertEqual(found[2], STEP[0] + b"\x04" + STEP[1])
        _, found = bodies(guarded(component(module(calls=b"", name=b"float_dealloc"))))
        self.assertEqual(len(found), 3)

    def test_one_that_asks_no_guard_is_behind_one_that_does(self):
        hashes = module(calls=b"", name=b"tuple_hash", other=b"Py_EnterRecursiveCall")
        _, found = bodies(guarded(component(hashes)))
        asked = b"\x41\0\x10\x02\x04\x7f\x41\x7f\x05\x20\0\x20\1\x10\x04\x0b"
        before, after = b"\0\x23\0\x41\x90\x03\x6b\x24\0", b"\x23\0\x41\x90\x03\x6a\x24\0\x0b"
        self.assertEqual(found[2], before + asked + after)
        folds = module(calls=b"", name=b"astfold_expr", other=b"Py_EnterRecursiveCall")
        _, found = bodies(guarded(component(folds)))
        self.assertEqual(found[2], before + asked.replace(b"\x41\x7f", b"\x41\0") + after)
        # Without a guard in the module, it stays unchanged.
        _, found = bodies(guarded(component(module(calls=b"", name=b"tuple_hash"))))
        self.assertEqual(len(found), 3)

    def test_what_is_around_the_module_stays(self):
        built = guarded(component(module()))
        self.assertTrue(built.endswith(section(0, text(b"end") + b"x")))
        self.assertEqual(len(list(recursion._sections(built, 8, len(built)))), 2)

    def test_other_files_are_refused_in_one_line(self):
        whole = component(module())
        for content in (b"", b"\0asm\1\0\0\0", component(b"\0asm\1\0\0\0"), whole[:60]):
            with self.assertRaises(LayoutError):
                guarded(content)


if __name__ == "__main__":
    unittest.main()
