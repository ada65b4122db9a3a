"""The changes to an application's objects before its snapshot is taken."""

import gc
import io
import unittest

from wasgi.guest import census, hot


def outer(value):
    def inner():
        return value + 1

    return inner()


def untouched():
    return lambda: 2


class GathersCode(unittest.TestCase):
    def test_what_ran_is_copied_and_works_as_before(self):
        before = outer.__code__
        nested = [constant for constant in before.co_consts if isinstance(constant, type(before))]
        ran = hot.observe(lambda: outer(1))
        self.assertTrue(any(code is before for code in ran))
        hot.gather(ran)
        self.assertIsNot(outer.__code__, before)
        self.assertEqual(outer.__code__, before)
        self.assertTrue(nested)
        self.assertFalse(any(constant is nested[0] for constant in outer.__code__.co_consts))
        self.assertEqual(outer(1), 2)

    def test_what_did_not_run_is_left_alone(self):
        before = untouched.__code__
        hot.gather(hot.observe(lambda: outer(1)))
        self.assertIs(untouched.__code__, before)

    def test_functions_that_the_collector_no_longer_lists_are_found_by_a_note_of_them(self):
        hot.remember()
        gc.freeze()
        self.addCleanup(hot._remembered.clear)
        self.addCleanup(gc.unfreeze)
        before = outer.__code__
        nested = [constant for constant in before.co_consts if isinstance(constant, type(before))]
        # The inner function's code alone: its outer function has to change.
        hot.gather(nested)
        self.assertIsNot(outer.__code__, before)
        self.assertEqual(outer(1), 2)

    def test_functions_that_share_code_still_do(self):
        functions = [untouched() for _ in range(2)]
        hot.gather(hot.observe(functions[0]))
        self.assertIs(functions[0].__code__, functions[1].__code__)
        self.assertTrue(
            any(constant is functions[0].__code__ for constant in untouched.__code__.co_consts)
        )


class TakesACensus(unittest.TestCase):
    def test_what_acts_when_it_goes_is_mortal(self):
        class Handle:
            def __del__(self):
                pass

        generator = (number for number in ())
        for mortal in (Handle(), generator, io.BytesIO(), memoryview(b"")):
            self.assertTrue(census.is_mortal(type(mortal)), mortal)
        for other in ("", 1, {}, [], outer, untouched.__code__, TakesACensus, io):
            self.assertFalse(census.is_mortal(type(other)), other)

    def test_what_the_collector_does_not_look_at_is_found(self):
        behind = {id(thing) for thing in census._behind(outer.__code__)}
        self.assertIn(id(outer.__code__.co_consts), behind)
        self.assertIn(id(outer.__code__.co_name), behind)
        self.assertIn(id(str.__mro__), {id(thing) for thing in census._behind(str)})
        key = "a key of its own, " + str(id(behind))
        self.assertIn(id(key), {id(thing) for thing in census._behind({key: 1})})

    def test_lazy_objects_are_not_woken(self):
        class Lazy:
            @property
            def __class__(self):
                raise AssertionError("woken")

        lazy = Lazy()
        self.assertIn(id(Lazy), {id(thing) for thing in census._behind(lazy)})

    def test_known_objects_and_what_only_they_refer_to_are_left_out(self):
        inner = [f"reached through the known one, {id(self)}"]
        known = [inner]
        listed = []
        census._fill(listed, is_known=lambda thing: thing is known or thing is inner)
        ids = {id(thing) for thing in listed}
        self.assertTrue(ids)
        self.assertFalse({id(known), id(inner), id(inner[0])} & ids)
