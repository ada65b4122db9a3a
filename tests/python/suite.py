"""Runs the SDK's own tests in the sandbox, with the fakes in place of the server's interface: the
path's last segment names a module or a class of them. Their folder is `tests` beside this file,
and the SDK's source is in `src`."""

import io
import sys
import unittest
from pathlib import Path

HERE = Path(__file__).resolve().parent
# The modules that the tests import for themselves, not those of this request.
OWN = ("wasgi", "wit_world", "componentize_py_types", "fakes")


def application(environ, start_response):
    name = environ["PATH_INFO"].rpartition("/")[2]
    real = {key: sys.modules.pop(key) for key in list(sys.modules) if is_own(key)}
    sys.path[:0] = [str(HERE / "tests"), str(HERE / "src")]
    log = io.StringIO()
    try:
        suite = unittest.defaultTestLoader.loadTestsFromName(name)
        result = unittest.TextTestRunner(log, verbosity=2).run(suite)
    finally:
        for key in filter(is_own, list(sys.modules)):
            del sys.modules[key]
        sys.modules.update(real)
    status = "200 OK" if result.wasSuccessful() else "500 Failed"
    start_response(status, [("Content-Type", "text/plain")])
    return [log.getvalue().encode()]


def is_own(module):
    return module.partition(".")[0] in OWN
