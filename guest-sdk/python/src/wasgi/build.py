"""Builds a component: runs componentize-py over a small main module, and reads its mind when it
fails.
"""

from __future__ import annotations

import dataclasses
import importlib.util
import json
import os
import site
import subprocess
import sys
import tempfile
from pathlib import Path

from wasgi.guest.report import MARK
from wasgi.immortal import immortalize
from wasgi.snapshot import Snapshot, SnapshotError
from wasgi.target import Target

#: The module that componentize-py wraps. Not the name of the world, which it generates itself.
MAIN_MODULE = "wasgi_main"

#: Longer than any build takes, in seconds: Django with its admin takes half a minute.
_TIMEOUT_SECONDS = 900

_MAIN = """\
from wasgi.guest.prepare import prepare

Application = prepare({plan!r})
"""


class BuildError(Exception):
    """Why there is no component: one line, and what may help to understand it."""

    def __init__(self, line: str, details: str = "") -> None:
        super().__init__(line)
        self.details = details


@dataclasses.dataclass
class Build:
    """One component to be built."""

    target: Target
    output: Path
    #: The application's own folders.
    paths: list[Path]
    #: Modules to import beside the application.
    imports: list[str] = dataclasses.field(default_factory=list)
    #: Paths to ask the application for before the snapshot is taken.
    warm: list[str] = dataclasses.field(default_factory=list)
    #: Installed packages to take along though nothing has imported them.
    include: list[str] = dataclasses.field(default_factory=list)

    def run(self) -> int:
        """Writes the component, whole or not at all, and returns its size in bytes.

        Raises:
            BuildError: where the application can't be imported, or componentize-py fails.
        """
        self._check()
        with tempfile.TemporaryDirectory(prefix="wasgi-") as folder:
            main = Path(folder, f"{MAIN_MODULE}.py")
            main.write_text(_MAIN.format(plan=self._plan()), encoding="utf-8")
            draft = Path(folder, "handler.wasm")
            _componentize([Path(folder), *self._search_path()], draft)
            return _install(_lightened(draft.read_bytes()), self.output)

    def _check(self) -> None:
        if importlib.util.find_spec("componentize_py") is None:
            raise BuildError("componentize-py is missing: pip install 'componentize-py>=0.25,<0.26'")
        for path in self.paths:
            if not path.is_dir():
                raise BuildError(f"--path {path} is no folder")
        if not self.output.parent.is_dir():
            raise BuildError(f"can't write {self.output}: there is no folder {self.output.parent}")

    def _search_path(self) -> list[Path]:
        """Where modules are found: the application's folders, this package, and what is
        installed."""
        own = Path(__file__).resolve().parent.parent
        installed = [Path(folder) for folder in (*site.getsitepackages(), *_user_site())]
        installed = [folder for folder in installed if folder.is_dir() and folder != own]
        return [*(path.resolve() for path in self.paths), own, *installed]

    def _plan(self) -> dict[str, object]:
        """What the sandbox's side is told. `prepare` documents it."""
        return {
            "module": self.target.module,
            "attribute": self.target.attribute,
            "is_factory": self.target.is_factory,
            "imports": self.imports,
            "warm": self.warm,
            "include": self.include,
            # The main module's folder is the first, as componentize-py counts them.
            "own_folders": [f"/{1 + index}" for index in range(len(self.paths))],
            "installed_folders": [
                f"/{index}"
                for index in range(1 + len(self.paths), 1 + len(self._search_path()))
            ],
            "names": {
                f"/{1 + index}": str(path) for index, path in enumerate(self._search_path())
            },
        }


def _user_site() -> list[str]:
    return [site.getusersitepackages()] if site.ENABLE_USER_SITE else []


def _componentize(search_path: list[Path], output: Path) -> None:
    wit = Path(__file__).resolve().parent / "wit"
    command = [sys.executable, "-c", "from componentize_py import script; script()"]
    command += ["--quiet", "--wit-path", str(wit), "--world", "handler"]
    command += ["componentize", MAIN_MODULE, "--output", str(output)]
    for folder in search_path:
        command += ["--python-path", str(folder)]
    # It would add this environment's packages once more.
    environment = {name: value for name, value in os.environ.items() if name != "VIRTUAL_ENV"}
    # Its errors are read, and a backtrace of its own code is of no use to anybody here.
    environment["RUST_BACKTRACE"] = "0"
    try:
        done = subprocess.run(
            command,
            env=environment,
            capture_output=True,
            text=True,
            errors="replace",
            timeout=_TIMEOUT_SECONDS,
        )
    except subprocess.TimeoutExpired:
        raise BuildError(f"the build was not done after {_TIMEOUT_SECONDS} s") from None
    if done.returncode != 0:
        raise _understand(done.stderr)


def _understand(output: str) -> BuildError:
    """The reason in what componentize-py wrote."""
    before, mark, rest = output.partition(MARK)
    if mark:
        # What the application wrote itself, behind what Python says of componentize-py's end.
        written = before.rpartition("AssertionError: ")[2]
        try:
            report = json.loads(rest.partition("\n")[0])
            details = f"{written.strip()}\n{report['details']}"
            return BuildError(report["line"], details.strip())
        except (ValueError, KeyError):
            pass
    if "fuel allocated for hostcalls" in output:
        return BuildError(
            "once imported, the application takes more memory than the 128 MiB that "
            "componentize-py can store"
        )
    return BuildError("componentize-py failed; what it wrote is above", output.rstrip())


def _lightened(component: bytes) -> bytes:
    """The component with objects that are no longer counted. If that can't be done it is as good as
    before, and slower."""
    try:
        snapshot = Snapshot(component)
        immortalize(snapshot)
    except SnapshotError as error:
        print(f"wasgi: a request will copy more memory than it has to: {error}", file=sys.stderr)
        return component
    return bytes(snapshot.component)


def _install(content: bytes, output: Path) -> int:
    """Puts the component in its place by a rename: a server that watches sees it whole."""
    # With a dot in front, because the server takes no such file for a handler.
    aside = output.with_name(f".{output.name}.{os.getpid()}")
    try:
        aside.write_bytes(content)
        aside.replace(output)
    except OSError as error:
        aside.unlink(missing_ok=True)
        raise BuildError(f"can't write {output}: {error.strerror}") from None
    return len(content)
