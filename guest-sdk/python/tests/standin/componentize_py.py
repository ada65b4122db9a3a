"""A stand-in for componentize-py: imports the main module as it does, but in this Python and with
this machine's files, and sends the application one request. Its output is not a component but the
response, as JSON.

`test_build.py` puts it on the search path. All other parts of a build are real.
"""

from __future__ import annotations

import argparse
import importlib
import json
import re
import sys
from pathlib import Path

import fakes

#: Functions that depend on the memory of the sandbox's Python, and don't apply to others.
_OF_THE_SANDBOX = [("census", "take"), ("census", "take_new"), ("room", "leave")]

#: The folder of the standard library in the sandbox.
_LIBRARY = "/python"

#: The script for the generic runtime.
_SCRIPT = """\
def app(environ, start_response):
    start_response("200 OK", [("Content-Type", "text/plain")])
    return [b"Hello from a script!"]
"""


def script() -> None:
    """Implements the command `componentize-py`."""
    options = _options()
    # The sandbox has no arguments.
    sys.argv.clear()
    # In the build's own folder, which is deleted afterwards.
    library = Path(options.output).with_name("library")
    (library / "encodings").mkdir(parents=True)
    # Opened now, because afterwards `open` is the sandbox's.
    with open(options.output, "w", encoding="utf-8") as output:
        json.dump(_answer(_imported(options, str(library))), output)


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser()
    parser.add_argument("--quiet", action="store_true")
    parser.add_argument("--wit-path", required=True)
    parser.add_argument("--world", required=True)
    parser.add_argument("command", choices=["componentize"])
    parser.add_argument("main")
    parser.add_argument("--output", required=True)
    parser.add_argument("--python-path", action="append", required=True)
    return parser.parse_args()


def _imported(options: argparse.Namespace, library: str) -> dict:
    """Imports the main module, with this machine's folders instead of the sandbox's `/0`, `/1`…"""
    sys.path[:0] = options.python_path
    for module, function in _OF_THE_SANDBOX:
        found = importlib.import_module(f"wasgi.guest.{module}")
        assert callable(getattr(found, function)), f"{module}.{function}"
        setattr(found, function, lambda *_: None)
    importlib.import_module("wasgi.guest.gather").STANDARD_LIBRARY = library
    main = Path(options.python_path[0], f"{options.main}.py")
    source = main.read_text("utf-8").replace(f'"{_LIBRARY}"', repr(library))
    source = re.sub(
        r"(?<=['\"])/(\d+)(?=['\"/])", lambda found: options.python_path[int(found[1])], source
    )
    scope: dict = {}
    exec(compile(source, str(main), "exec"), scope)
    return scope


def _answer(main: dict) -> dict:
    if world := main.get("WitWorld"):
        plan = {"path": sys.path, "script": {"file": "hello.py", "source": _SCRIPT}, "warm": ["/"]}
        loaded = json.loads(world().load(json.dumps(plan)))
        assert "error" not in loaded, loaded
    # It empties them in each instance.
    sys.argv.clear()
    response = fakes.answered(main["Application"](), fakes.Environ(**_VARIABLES))
    return {"status": response.head[0], "body": b"".join(response.blocks).decode("utf-8")}


#: The variables of a request, as the server passes them.
_VARIABLES = {
    "REQUEST_METHOD": b"GET", "PATH_INFO": b"/asked", "SERVER_NAME": b"test", "SERVER_PORT": b"80",
    "SERVER_PROTOCOL": b"HTTP/1.1", "wsgi__url_scheme": b"http", "wsgi__version": b"1.0",
}  # fmt: skip
