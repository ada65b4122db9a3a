"""Runs the SDK's own tests in the sandbox, with the fakes in place of the server's interface.

The path's last segment names modules, classes or tests of them, separated by commas. After
`names/`, the response lists the tests instead. Their folder is `tests` beside this file, and the
SDK's source is in `src`.

Tests that start an interpreter for a program get this one: each of them must have a request, and so
an instance, to itself.
"""

import contextlib
import importlib.util
import io
import os
import subprocess
import sys
import traceback
import unittest
from pathlib import Path

HERE = Path(__file__).resolve().parent
# The modules that the tests import for themselves, not those of this request.
OWN = ("wasgi", "wit_world", "componentize_py_types", "fakes", __name__)
# The server's interface itself, whose place the fakes take.
INTERFACE = "componentize_py_runtime"


def application(environ, start_response):
    *_, front, name = environ["PATH_INFO"].split("/")
    real = {key: sys.modules.pop(key) for key in list(sys.modules) if is_own(key)}
    find_spec = importlib.util.find_spec
    importlib.util.find_spec = lambda name, *rest: (
        None if name == INTERFACE else find_spec(name, *rest)
    )
    subprocess.run = run_here
    sys.path[:0] = [str(HERE / "tests"), str(HERE / "src")]
    try:
        suite = unittest.defaultTestLoader.loadTestsFromNames(name.split(","))
        is_good, text = (True, names(suite)) if front == "names" else tested(suite)
    finally:
        for key in filter(is_own, list(sys.modules)):
            del sys.modules[key]
        sys.modules.update(real)
    status = "200 OK" if is_good else "500 Failed"
    start_response(status, [("Content-Type", "text/plain")])
    return [text.encode()]


def is_own(module):
    return module.partition(".")[0] in OWN


def names(suite):
    tests = list(suite)
    if all(isinstance(test, unittest.TestCase) for test in tests):
        return "".join(f"{test.id()}\n" for test in tests)
    return "".join(map(names, tests))


def tested(suite):
    log = io.StringIO()
    result = unittest.TextTestRunner(log, verbosity=2).run(suite)
    return result.wasSuccessful(), log.getvalue()


def run_here(command, **options):
    """Replaces `subprocess.run` for programs of Python: `[sys.executable, …, "-c", code, …]`."""
    code, *arguments = command[command.index("-c") + 1 :]
    out, err = io.StringIO(), io.StringIO()
    sys.argv = ["-c", *map(str, arguments)]
    failed = 0
    with as_new_interpreter(), contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        try:
            exec(compile(code, "<string>", "exec", dont_inherit=True), {"__name__": "__main__"})
        except BaseException:
            traceback.print_exc()
            failed = 1
    return subprocess.CompletedProcess(command, failed, out.getvalue(), err.getvalue())


@contextlib.contextmanager
def as_new_interpreter():
    """Hides the modules of the tests from a program, and forgets what it imported."""
    modules = dict(sys.modules)
    finders = [(each, each[:]) for each in (sys.path, sys.meta_path, sys.path_hooks)]
    folder = os.getcwd()
    for key in filter(is_own, modules):
        del sys.modules[key]
    try:
        yield
    finally:
        os.chdir(folder)
        sys.modules.clear()
        sys.modules.update(modules)
        for each, before in finders:
            each[:] = before
        sys.path_importer_cache.clear()
