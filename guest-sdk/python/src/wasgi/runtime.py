"""Builds the generic runtime: a folder with an interpreter without an application, and the standard
library that it reads when it loads a script."""

from __future__ import annotations

import importlib.util
import os
import shutil
import tempfile
from pathlib import Path

from wasgi.build import WIT, BuildError, componentize, guarded, lightened

#: The interpreter's file in the runtime's folder.
COMPONENT = "python.wasm"

#: The folder of the standard library in the runtime's folder.
LIBRARY = "lib"

#: The module that componentize-py wraps.
_MAIN_MODULE = "wasgi_main"

#: The world of an interpreter without an application. The plan and the result of `load` are JSON,
#: whose format may change with each version: the server and the runtime are built together.
_WIT = """\
package wasgi:gateway@0.1.0;

world runtime {
  include python;
  export load: func(plan: string) -> string;
}
"""

# The sandbox's folder of the standard library during the build, and this module's folder, which is
# writable.
_MAIN = """\
import shutil

from wasgi.guest import script
from wasgi.guest.script import Application

script.base()
shutil.copytree("/python", "/0/lib", ignore=shutil.ignore_patterns("__pycache__"))


class WitWorld:
    def load(self, plan: str) -> str:
        return script.load(plan)
"""

#: Parts of the standard library that no handler can use.
_LEFT_OUT = ("idlelib", "lib2to3", "ensurepip", "tkinter", "turtledemo", "test", "pydoc_data")


def build(folder: Path) -> int:
    """Writes the runtime to a folder atomically, and returns its size in bytes.

    Raises:
        BuildError: if componentize-py fails, or the folder can't be written.
    """
    folder.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=".runtime-", dir=folder.parent) as temporary:
        main = Path(temporary, "main")
        main.mkdir()
        Path(main, f"{_MAIN_MODULE}.py").write_text(_MAIN, encoding="utf-8")
        made = Path(temporary, "made")
        made.mkdir()
        own = Path(__file__).resolve().parent.parent
        draft = Path(temporary, COMPONENT)
        empty = Path(temporary, "empty")
        empty.mkdir()
        wit = Path(temporary, "wit")
        shutil.copytree(WIT, wit)
        Path(wit, "runtime.wit").write_text(_WIT, encoding="utf-8")
        componentize([main, own], draft, empty, _MAIN_MODULE, "runtime", wit)
        Path(made, COMPONENT).write_bytes(guarded(lightened(draft.read_bytes())))
        for name in _LEFT_OUT:
            shutil.rmtree(main / "lib" / name, ignore_errors=True)
        if spec := importlib.util.find_spec("tzdata"):
            # The sandbox has no time zones of its own.
            zones = Path(spec.origin).parent
            ignored = shutil.ignore_patterns("__pycache__")
            shutil.copytree(zones, main / "lib" / "tzdata", ignore=ignored)
        if not Path(main, "lib", "encodings").is_dir():
            raise BuildError("the standard library of componentize-py was not found")
        Path(main, "lib").rename(made / LIBRARY)
        shutil.rmtree(folder, ignore_errors=True)
        os.rename(made, folder)
    return sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())
