"""One-line explanations of why an application can't be imported."""

import os
import subprocess
import sys
import tempfile
import unittest
from pathlib import Path

import fakes

from wasgi.guest import explain


class Explained(unittest.TestCase):
    def setUp(self):
        holder = tempfile.TemporaryDirectory()
        self.addCleanup(holder.cleanup)
        self.own, self.installed = Path(holder.name, "1"), Path(holder.name, "2")
        self.own.mkdir()
        self.installed.mkdir()
        names = {str(self.own): "/home/ada/site", str(self.installed): "/home/ada/packages"}
        self.place = explain.Place(names, [str(self.own)], [str(self.installed)])

    def line(self, source):
        """Returns the explanation for a module of the application that raises an exception."""
        path = str(self.own / "app.py")
        try:
            exec(compile(source, path, "exec"), {"__name__": "app"})
        except BaseException as error:
            self.details = explain.details(error, self.place)
            return explain.line(error, self.place)

    def test_a_variable_that_is_not_there(self):
        line = self.line("import os\n\nKEY = os.environ['NO_SUCH_KEY']\n")
        self.assertEqual(
            line,
            "app.py, line 3: KeyError: 'NO_SUCH_KEY'; a build has no environment variables: read "
            "granted variables during a request, or use a default",
        )
        line = self.line("raise ValueError('Set the X environment variable')")
        self.assertIn("no environment variables", line)

    def test_a_variable_that_is_none_where_a_value_is_needed(self):
        source = "import os\nPORT = int(os.environ.get('NO_SUCH_PORT'))\n"
        (self.own / "app.py").write_text(source)
        self.assertIn("no environment variables", self.line(source))
        source = "def app(environ): raise ValueError('cold')\napp({})\n"
        (self.own / "app.py").write_text(source)
        self.assertEqual(self.line(source), "app.py, line 1: ValueError: cold")

    def test_another_exception_has_its_place_alone(self):
        self.assertEqual(self.line("x = 1\nx['a']\n")[:26], "app.py, line 2: TypeError:")
        self.assertEqual(self.line("{}['x']"), "app.py, line 1: KeyError: 'x'")

    def test_compiled_code_is_told_by_its_package(self):
        package = self.installed / "pydantic_core"
        package.mkdir()
        (package / "_core.cpython-311-x86_64-linux-gnu.so").write_bytes(b"")
        for source in (
            "raise ModuleNotFoundError('no', name='pydantic_core._core')",
            "try: raise ModuleNotFoundError('no', name='pydantic_core._core')\n"
            "except ImportError as e: raise ImportError('long story', name='x') from e",
            "raise ImportError(\"cannot import name '_core' from 'x'\", name='pydantic_core')",
        ):
            self.assertIn(
                "the package pydantic_core contains compiled code (pydantic_core/_core.cpython-311-"
                "x86_64-linux-gnu.so), which can't run in the sandbox; use a pure-Python package",
                self.line(source),
            )

    def test_modules_that_are_not_there(self):
        for name, words in (
            ("_ssl", "the standard library's module ssl is missing from the sandbox"),
            ("termios", "module termios is missing from the sandbox"),
            ("cgi", "Python 3.13 removed it"),
            ("nothing.here", "no module nothing.here in /home/ada/packages; install it with pip "),
        ):  # fmt: skip
            self.assertIn(words, self.line(f"raise ModuleNotFoundError('no', name={name!r})"))
        self.assertIn("legacy-cgi", self.line("raise ModuleNotFoundError('no', name='cgi')"))

    def test_what_the_sandbox_lacks_is_said(self):
        self.assertIn("no threads", self.line('raise RuntimeError("can\'t start new thread")'))

    def test_a_mistake_in_the_syntax_has_its_own_place(self):
        (self.own / "other.py").write_text("x = (\n")
        path = str(self.own / "other.py")
        line = self.line(f"compile(open({path!r}).read(), {path!r}, 'exec')")
        self.assertTrue(line.startswith("other.py, line 1: SyntaxError: "), line)

    def test_tracebacks_begin_at_the_application(self):
        self.line("1 / 0")
        self.assertNotIn("test_explain", self.details)
        self.assertIn("ZeroDivisionError", self.details)


if __name__ == "__main__":
    unittest.main()
