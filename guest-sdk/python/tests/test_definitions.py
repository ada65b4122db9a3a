"""No Python file of the repository defines a name twice at one level: the second would hide the first
without a word.
"""

import ast
import unittest
from pathlib import Path

SDK = Path(__file__).resolve().parent.parent

#: The folders with Python, from the repository's top.
FOLDERS = ("guest-sdk/python", "handlers/_python", "tests/python")

#: Decorators under which a name is defined again on purpose.
_ADDS_TO = {"setter", "getter", "deleter", "overload", "register"}

_FUNCTION = (ast.FunctionDef, ast.AsyncFunctionDef)


def defined_twice(tree: ast.AST) -> list[tuple[str, int]]:
    """The names that are defined again at the same level, with the line of the second time.

    A level is the body of a module, a class or a function; the branches of a condition or a `try`
    are levels of their own, since one of them is taken.
    """
    found = []
    for node in ast.walk(tree):
        for field in ("body", "orelse", "finalbody"):
            body = getattr(node, field, None)
            if isinstance(body, list):
                seen = set()
                for statement in body:
                    for name in _defines(statement):
                        if name in seen:
                            found.append((name, statement.lineno))
                        seen.add(name)
    return found


def _defines(statement: ast.stmt) -> list[str]:
    """What a statement defines as a function, a class or an import."""
    if isinstance(statement, (*_FUNCTION, ast.ClassDef)):
        names = {
            part.attr if isinstance(part, ast.Attribute) else getattr(part, "id", "")
            for decorator in statement.decorator_list
            for part in ast.walk(decorator)
        }
        return [] if names & _ADDS_TO or statement.name == "_" else [statement.name]
    if isinstance(statement, (ast.Import, ast.ImportFrom)):
        # `import a.b` and `import a.c` both define `a`, to the same effect.
        return [each.asname or each.name for each in statement.names]
    return []


class Definitions(unittest.TestCase):
    def test_no_name_is_defined_twice_at_one_level(self):
        top = SDK.parent.parent
        for folder in FOLDERS:
            files = sorted((top / folder).rglob("*.py"))
            self.assertTrue(files, folder)
            for file in files:
                again = defined_twice(ast.parse(file.read_text("utf-8"), str(file)))
                self.assertEqual(again, [], file.relative_to(top))

    def test_a_second_definition_is_found(self):
        cases = {
            "def a(): pass\ndef a(): pass": [("a", 2)],
            "from b import a\nclass a: pass": [("a", 2)],
            "class A:\n def a(self): pass\n async def a(self): pass": [("a", 3)],
            "def f():\n import a\n import a": [("a", 3)],
            "if x:\n def a(): pass\nelse:\n def a(): pass": [],
            "try:\n import a\nexcept ImportError:\n a = None": [],
            "class A:\n @property\n def a(self): pass\n @a.setter\n def a(self, x): pass": [],
        }
        for source, expected in cases.items():
            self.assertEqual(defined_twice(ast.parse(source)), expected, source)


if __name__ == "__main__":
    unittest.main()
