"""No Python file of the repository defines a name twice at one level, since the second definition
would silently replace the first."""

import ast
import unittest
from pathlib import Path

SDK = Path(__file__).resolve().parent.parent

#: The folders with Python files, relative to the repository's root.
FOLDERS = ("guest-sdk/python", "handlers/_python", "tests/python")

#: Decorators with which a name is redefined on purpose.
_ADDS_TO = {"setter", "getter", "deleter", "overload", "register"}

_FUNCTION = (ast.FunctionDef, ast.AsyncFunctionDef)


def defined_twice(tree: ast.AST) -> list[tuple[str, int]]:
    """Returns the names that are redefined at the same level, with the line of the second
    definition.

    A level is the body of a module, a class or a function. The branches of a condition or a `try`
    are separate levels, since only one of them is executed.
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
    """Returns the names of functions, classes or imports that a statement defines."""
    if isinstance(statement, (*_FUNCTION, ast.ClassDef)):
        names = {
            part.attr if isinstance(part, ast.Attribute) else getattr(part, "id", "")
            for decorator in statement.decorator_list
            for part in ast.walk(decorator)
        }
        return [] if names & _ADDS_TO or statement.name == "_" else [statement.name]
    if isinstance(statement, (ast.Import, ast.ImportFrom)):
        # `import a.b` and `import a.c` both define `a`, with the same effect.
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
