"""A complete build, from the command line to a response, with a stand-in for componentize-py. It
needs no WebAssembly, and runs all steps of a build except those that lay out the sandbox's
memory."""

import json
import os
import subprocess
import sys
import tempfile
import textwrap
import unittest
from pathlib import Path

TESTS = Path(__file__).resolve().parent
SEARCHED = [TESTS / "standin", TESTS, TESTS.parent / "src"]

WSGI = """\
import argparse
import shelve
from pathlib import Path
from late import told

argparse.ArgumentParser()

def application(environ, start_response):
    argparse.ArgumentParser()
    start_response("200 OK", [("Content-Type", "text/plain")])
    with shelve.open("/tmp/wasgi-test-shelf") as shelf:
        shelf["told"] = told
    with shelve.open("/tmp/wasgi-test-shelf") as shelf:
        assert shelf["told"] == told
    kept = Path(__file__).with_name("kept.txt").read_text()
    return [f"{environ['PATH_INFO']} {kept} {told}".encode()]
"""

ASGI = """\
async def application(scope, receive, send):
    if scope["type"] == "lifespan":
        while True:
            event = (await receive())["type"]
            await send({"type": f"{event}.complete"})
    await send({"type": "http.response.start", "status": 200, "headers": []})
    await send({"type": "http.response.body", "body": scope["path"].encode()})
"""


def wasgi(*arguments, cwd) -> subprocess.CompletedProcess:
    """Runs the command line as a user does."""
    path = os.pathsep.join(map(str, SEARCHED))
    return subprocess.run(
        [sys.executable, "-m", "wasgi", *map(str, arguments)],
        cwd=cwd,
        env={**os.environ, "PYTHONPATH": path, "PYTHONDONTWRITEBYTECODE": "1"},
        capture_output=True,
        text=True,
    )


class Build(unittest.TestCase):
    def setUp(self):
        folder = tempfile.TemporaryDirectory()
        self.addCleanup(folder.cleanup)
        self.folder = Path(folder.name)

    def built(self, *options) -> dict:
        output = self.folder / "out.wasm"
        done = wasgi("build", *options, "-o", output, cwd=self.folder)
        self.assertEqual(done.returncode, 0, done.stderr)
        return json.loads(output.read_text("utf-8"))

    def write(self, name: str, content: str) -> None:
        (self.folder / name).write_text(textwrap.dedent(content), encoding="utf-8")

    def test_a_wsgi_application_with_a_file_and_a_warm_path(self):
        self.write("shop.py", WSGI)
        self.write("late.py", "told = 'imported'\n")
        self.write("kept.txt", "kept")
        answer = self.built("shop:application", "--warm", "/", "--import", "wsgiref.util")
        self.assertEqual(answer, {"status": "200 OK", "body": "/asked kept imported"})

    def test_an_asgi_application_with_a_lifespan(self):
        self.write("shop.py", ASGI)
        answer = self.built("shop:application", "--warm", "/")
        self.assertEqual(answer, {"status": "200 OK", "body": "/asked"})

    def test_a_failure_is_one_line_with_its_place(self):
        self.write("shop.py", "def application(environ, start_response):\n    1 / 0\n")
        done = wasgi("build", "shop:application", "--warm", "/", cwd=self.folder)
        self.assertEqual(done.returncode, 1, done.stderr)
        last = done.stderr.splitlines()[-1]
        self.assertIn("--warm /: ", last)
        self.assertIn("shop.py, line 2", last)
        self.assertIn("ZeroDivisionError", last)

    def test_the_runtime_loads_a_script(self):
        done = wasgi("runtime", self.folder / "runtime", cwd=self.folder)
        self.assertEqual(done.returncode, 0, done.stderr)
        answer = json.loads((self.folder / "runtime/python.wasm").read_text("utf-8"))
        self.assertEqual(answer, {"status": "200 OK", "body": "Hello from a script!"})


if __name__ == "__main__":
    unittest.main()
