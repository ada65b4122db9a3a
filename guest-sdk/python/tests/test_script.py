"""How a script is loaded: the conventions by which an application is found, and the messages if
none is."""

import json
import subprocess
import sys
import tempfile
import textwrap
import unittest
from pathlib import Path

SOURCES = Path(__file__).resolve().parent.parent / "src"

# In a separate process: loading changes the interpreter permanently.
LOAD = f"""\
import sys
sys.path.insert(0, {str(SOURCES)!r})
from wasgi.guest import script
# These need the sandbox's Python and its allocator.
script.census.take_new = lambda: None
script.room.leave = lambda: None
print(script.load(sys.argv[1]))
"""

APPLICATION = """\
def {name}(environ, start_response):
    start_response("200 OK", [])
    return [b"hello"]
"""


def load(plan) -> dict:
    """Returns the result of a plan."""
    command = [sys.executable, "-c", LOAD, json.dumps({"path": [*sys.path[1:]], **plan})]
    done = subprocess.run(command, capture_output=True, text=True)
    if done.returncode != 0:
        raise AssertionError(done.stderr)
    answer = json.loads(done.stdout)
    answer.pop("census", None)
    return answer


def one_file(source: str, file: str = "hello.py") -> dict:
    return load({"script": {"file": file, "source": textwrap.dedent(source)}})


def folder(files: dict, **plan) -> dict:
    with tempfile.TemporaryDirectory() as place:
        for name, content in files.items():
            path = Path(place, name)
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(content, encoding="utf-8")
        path = [place, *sys.path[1:]]
        return load({"path": path, "folder": place, **plan})


class OneFile(unittest.TestCase):
    def test_a_variable_that_is_missing_is_named_with_the_line_that_grants_it(self):
        plan = {"table": "[handlers.hello]", "script": {"file": "hello.py", "source": ""}}
        for source, name in [
            ("import os\nos.environ['SECRET_KEY']\n", "SECRET_KEY"),
            ("import os\nint(os.environ.get('PORT'))\n", "NAME"),
            ("import os\nos.environ['{name} odd']\n", "NAME"),
        ]:
            plan["script"]["source"] = source
            line = load(plan)["error"]
            grant = f'[handlers.hello] environment = {{ {name} = "value" }} in wasgi.toml grants it'
            self.assertTrue(line.endswith(f" (hello.py:2); {grant}"), line)

    def test_a_connection_at_the_import_is_explained(self):
        for source in [
            "import socket\nraise socket.gaierror(-2, 'no such name')\n",
            "import urllib.error\nraise urllib.error.URLError('denied')\n",
            "try:\n    raise ConnectionRefusedError('x') # 2\nexcept OSError as e: raise ValueError() from e\n",
        ]:
            line = one_file(source)["error"]
            self.assertIn("; an import has no network: connect during a request", line)

    def test_its_application_is_called_app_or_application(self):
        for name in ("app", "application"):
            answer = one_file(APPLICATION.format(name=name))
            self.assertEqual(answer, {"application": f"hello.py:{name}"})

    def test_what_was_looked_for_is_named(self):
        answer = one_file("def main(): pass\n")
        self.assertEqual(
            answer["error"], "hello.py has no app or application (it has main)"
        )

    def test_what_can_not_be_called_is_no_application(self):
        answer = one_file("app = 5\n")
        self.assertEqual(
            answer["error"], "hello.py:app is not an application: int is not callable"
        )

    def test_an_exception_says_what_and_where(self):
        answer = one_file("import json\n\n\n1 / 0\n")
        self.assertEqual(answer["error"], "ZeroDivisionError: division by zero (hello.py:4)")
        self.assertIn('File "/app/hello.py", line 4', answer["details"])
        self.assertIn("1 / 0", answer["details"])
        self.assertNotIn("script.py", answer["details"])

    def test_a_syntax_error_has_its_line(self):
        answer = one_file("x = 1\ny = (\n")
        self.assertIn("SyntaxError", answer["error"])
        self.assertIn("(hello.py:2)", answer["error"])

    def test_an_exit_is_a_failure(self):
        self.assertIn("SystemExit: 3", one_file("raise SystemExit(3)\n")["error"])

    def test_a_module_of_the_library_is_not_replaced(self):
        source = "import json\njson.dumps\n" + APPLICATION.format(name="app")
        self.assertEqual(one_file(source, "json.py"), {"application": "json.py:app"})


    def test_an_asgi_application_is_one(self):
        source = """
            async def app(scope, receive, send):
                pass
            """
        self.assertEqual(one_file(source), {"application": "hello.py:app"})


class Folders(unittest.TestCase):
    def needs_tomllib(self):
        if sys.version_info < (3, 11):
            self.skipTest("this Python has no tomllib")

    def test_the_application_is_found_by_convention(self):
        app = APPLICATION.format(name="app")
        application = APPLICATION.format(name="application")
        for files, found in [
            ({"app.py": app}, "app:app"),
            ({"app.py": application}, "app:application"),
            ({"wsgi.py": application}, "wsgi:application"),
            ({"main.py": app}, "main:app"),
            ({"wsgi.py": application, "app.py": app}, "app:app"),
            (
                {"manage.py": "", "site_/__init__.py": "", "site_/wsgi.py": application},
                "site_.wsgi:application",
            ),
        ]:
            with self.subTest(files=list(files)):
                self.assertEqual(folder(files), {"application": found})

    def test_it_may_be_said(self):
        self.needs_tomllib()
        files = {"shop/__init__.py": "def create_app():\n    return print\n"}
        said = '[tool.wasgi]\napplication = "{}"\n'
        answer = folder({**files, "pyproject.toml": said.format("shop:create_app()")})
        self.assertEqual(answer, {"application": "shop:create_app()"})
        answer = folder({**files, "pyproject.toml": said.format("store:app")})
        self.assertEqual(answer["error"], "there is no module store")
        answer = folder({**files, "pyproject.toml": said.format("shop")})
        self.assertTrue(
            answer["error"].startswith("pyproject.toml: tool.wasgi.application: 'shop'"), answer
        )

    def test_a_warm_path_that_fails_is_named(self):
        self.needs_tomllib()
        source = """
            def app(environ, start_response):
                status = "500 No" if environ["PATH_INFO"] == "/no" else "200 OK"
                start_response(status, [("Content-Type", "text/plain")])
                assert environ["PATH_INFO"] != "/raises"
                return [b"hello"]
            """
        for path, expected in [
            ("/no", "warm path /no: answered with 500 No"),
            ("/raises", "warm path /raises: AssertionError"),
        ]:
            files = {
                "app.py": textwrap.dedent(source),
                "pyproject.toml": f'[tool.wasgi]\nwarm = ["{path}"]\n',
            }
            self.assertIn(expected, folder(files)["error"])

    def test_packages_may_be_in_the_folder(self):
        self.needs_tomllib()
        files = {"app.py": "from package import app\n", "vendor/package.py": "app = print\n"}
        said = '[tool.wasgi]\npackages = "{}"\n'
        answer = folder({**files, "pyproject.toml": said.format("vendor")})
        self.assertEqual(answer, {"application": "app:app"})
        answer = folder({**files, "pyproject.toml": said.format("vendr")})
        self.assertEqual(
            answer["error"],
            "pyproject.toml: tool.wasgi.packages: the application has no folder vendr",
        )

    def test_its_modules_import_each_other(self):
        files = {"app.py": "from lib.views import app\n", "lib/views.py": "app = print\n"}
        self.assertEqual(folder(files), {"application": "app:app"})

    def test_what_is_not_installed_is_named_with_what_installs_it(self):
        self.needs_tomllib()
        for name, hint in (
            ("requirements.txt", "`wasgi deps` installs what requirements.txt names"),
            ("pyproject.toml", "`wasgi deps` installs what pyproject.toml names"),
            ("other.txt", "name its package in requirements.txt, and run `wasgi deps`"),
        ):
            answer = folder({"app.py": "import flaskk\n", name: ""})
            self.assertEqual(answer["error"], f"there is no module flaskk; {hint}")
        answer = one_file("import flaskk\n")
        self.assertEqual(
            answer["error"],
            "there is no module flaskk (hello.py:1); a script of one file has no packages: make it "
            "a folder with app.py and requirements.txt",
        )

    def test_a_package_with_compiled_code_is_named(self):
        files = {
            "app.py": "import core\n",
            "packages/core/__init__.py": "from . import _core\n",
            "packages/core/_core.cpython-314-x86_64-linux-gnu.so": "",
        }
        with tempfile.TemporaryDirectory() as place:
            for name, content in files.items():
                path = Path(place, name)
                path.parent.mkdir(parents=True, exist_ok=True)
                path.write_text(content, encoding="utf-8")
            packages = str(Path(place, "packages"))
            answer = load({
                "path": [place, packages, *sys.path[1:]], "folder": place, "packages": packages,
            })  # fmt: skip
        self.assertEqual(
            answer["error"],
            "the package core contains compiled code (core/_core.cpython-314-x86_64-linux-gnu.so), "
            "which can't run in the sandbox; use a pure-Python package",
        )

    def test_what_was_looked_for_is_named(self):
        answer = folder({"manage.py": ""})
        self.assertTrue(
            answer["error"].startswith("there is no app.py, wsgi.py, main.py or */wsgi.py"),
            answer,
        )


if __name__ == "__main__":
    unittest.main()
