"""The command line's arguments."""

import contextlib
import io
import tempfile
import time
import unittest
from pathlib import Path

import fakes  # noqa: F401 (puts the package on the path)

from wasgi.cli import main
from wasgi.target import Target, TargetError


class Targets(unittest.TestCase):
    def test_both_forms_are_understood(self):
        self.assertEqual(Target.parse("app:app"), Target("app", "app", False))
        self.assertEqual(
            Target.parse("my.site:make.app()"), Target("my.site", "make.app", True)
        )

    def test_others_are_refused_with_a_guess(self):
        for text, guess in (("app", "app:app"), ("my/site.py", "my.site:app")):
            with self.assertRaisesRegex(TargetError, f"did you mean {guess}"):
                Target.parse(text)
        for text in ("", ":", "a:", "a b:c", "a:b(1)", "1:a", "a..b:c"):
            with self.assertRaises(TargetError):
                Target.parse(text)


class CommandLine(unittest.TestCase):
    def fails(self, *arguments):
        errors = io.StringIO()
        with contextlib.redirect_stderr(errors):
            status = main(["build", *arguments])
        return status, errors.getvalue()

    def test_a_target_that_is_none_is_told_in_a_line(self):
        status, errors = self.fails("app")
        self.assertEqual(status, 2)
        self.assertEqual(errors.count("\n"), 1)
        self.assertIn("wasgi: 'app' is not of the form module:callable", errors)


@unittest.skipIf(
    __import__("importlib.util").util.find_spec("componentize_py") is None,
    "componentize-py is not installed",
)
class Builds(unittest.TestCase):
    """Builds that fail. The demos are the builds that succeed."""

    def fails(self, source, target="app:app", *arguments):
        with tempfile.TemporaryDirectory() as folder:
            Path(folder, "app.py").write_text(source)
            output = Path(folder, "out.wasm")
            errors = io.StringIO()
            with contextlib.redirect_stderr(errors):
                status = main(
                    ["build", target, "-p", folder, "-o", str(output), *arguments]
                )
            self.assertEqual(status, 1)
            self.assertFalse(output.exists())
        lines = errors.getvalue().splitlines()
        # Lines about the environment that the build has found: where its packages are, and which
        # of them need others.
        found = ("using the packages of ", " requires ")
        details = [line for line in lines[:-1] if not any(text in line for text in found)]
        return lines[-1], details

    def test_a_module_that_is_not_there(self):
        line, details = self.fails("", "other:app")
        self.assertRegex(line, r"wasgi: there is no module other in /.* \(--path adds folders\)")
        self.assertEqual(details, [])

    def test_a_callable_that_is_not_there(self):
        line, details = self.fails("def application(environ, start_response): pass")
        self.assertEqual(line, "wasgi: module app has no app; it has application")
        self.assertEqual(details, [])

    def test_what_can_not_be_called(self):
        line, _ = self.fails("app = 1")
        self.assertEqual(line, "wasgi: app:app is not an application: int is not callable")

    def test_an_import_that_fails(self):
        line, details = self.fails("import no_such_package")
        self.assertRegex(line, r"wasgi: app\.py, line 1: there is no module no_such_package in /")
        self.assertIn("    import no_such_package", details)

    def test_an_application_that_prints_more_than_componentize_py_takes(self):
        source = "import sys\nfor _ in range(999): sys.stderr.write('x' * 99)\nraise KeyError\n"
        line, details = self.fails(source)
        self.assertEqual(line, "wasgi: app.py, line 3: KeyError")
        self.assertIn("    raise KeyError", details)

    def test_a_mistake_in_the_syntax_is_told_before_the_sandbox_starts(self):
        started = time.monotonic()
        line, details = self.fails("def f(:\n")
        self.assertRegex(line, r"wasgi: /.*/app\.py, line 1: SyntaxError: invalid syntax")
        self.assertEqual(details, ["    def f(:"])
        # The sandbox alone takes five seconds.
        self.assertLess(time.monotonic() - started, 4)

    def test_a_lifespan_that_fails(self):
        source = (
            "async def app(scope, receive, send):\n    await receive()\n"
            "    await send({'type': 'lifespan.startup.failed', 'message': 'no database'})\n"
        )
        line, _ = self.fails(source)
        self.assertEqual(line, "wasgi: app:app: its lifespan startup failed: no database")

    def test_what_makes_an_application_is_none(self):
        line, _ = self.fails("def app(): pass")
        self.assertIn("app:app does not take (environ, start_response): ", line)
        self.assertTrue(line.endswith("; if it creates the application, write app:app()"), line)

    def test_a_page_that_fails_while_it_is_warmed(self):
        source = "def app(environ, start_response):\n    raise ValueError('cold')\n"
        line, details = self.fails(source, "app:app", "--warm", "/")
        self.assertEqual(line, "wasgi: --warm /: app.py, line 2: ValueError: cold")
        self.assertIn("    raise ValueError('cold')", details)

    def test_a_folder_that_is_not_there(self):
        with tempfile.TemporaryDirectory() as folder:
            errors = io.StringIO()
            with contextlib.redirect_stderr(errors):
                status = main(["build", "app:app", "-o", f"{folder}/none/app.wasm"])
            self.assertEqual(status, 1)
            self.assertIn("no folder", errors.getvalue())


if __name__ == "__main__":
    unittest.main()
