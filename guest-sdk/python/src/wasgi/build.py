"""Builds a component: runs componentize-py over a small main module, and reads its mind when it
fails.
"""

from __future__ import annotations

import dataclasses
import importlib.util
import json
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path

from wasgi import recursion, requirements, sandbox, sources
from wasgi.guest.report import FILE_NAME, NOTES_NAME
from wasgi.immortal import immortalize
from wasgi.packages import Packages, PackagesError, interpreter, staged_application
from wasgi.snapshot import Snapshot, SnapshotError
from wasgi.target import Target

#: The module that componentize-py wraps. Not the name of the world, which it generates itself.
MAIN_MODULE = "wasgi_main"

#: The folder with the contract.
WIT = Path(__file__).resolve().parent / "wit"

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
    #: The interpreter whose packages are taken, if it is not to be found.
    python: Path | None = None
    #: Takes a line for the user.
    tell: Callable[[str], None] = lambda line: None

    def run(self) -> int:
        """Writes the component, whole or not at all, and returns its size in bytes.

        Raises:
            BuildError: where the application can't be imported, or componentize-py fails.
        """
        self._check()
        self._look_at_sources()
        try:
            packages = self._packages()
            with tempfile.TemporaryDirectory(prefix="wasgi-") as folder:
                return self._build(Path(folder), packages)
        except PackagesError as error:
            raise BuildError(str(error)) from None

    def _build(self, folder: Path, packages: Packages) -> int:
        main_folder, empty = folder / "main", folder / "empty"
        main_folder.mkdir()
        empty.mkdir()
        search = self._search_path(folder, main_folder, packages)
        main = main_folder / f"{MAIN_MODULE}.py"
        plan = self._plan(search) | {"companions": requirements.companions(packages.folders)}
        main.write_text(_MAIN.format(plan=plan), encoding="utf-8")
        draft = folder / "handler.wasm"
        try:
            componentize([each.place for each in search], draft, empty)
        except BuildError as error:
            raise _reported(main_folder, error.details) or error from None
        notes = main_folder / NOTES_NAME
        for line in notes.read_text("utf-8").splitlines() if notes.is_file() else []:
            self.tell(line)
        return _install(guarded(lightened(draft.read_bytes())), self.output)

    def _check(self) -> None:
        if importlib.util.find_spec("componentize_py") is None:
            raise BuildError("componentize-py is missing: pip install 'componentize-py>=0.25,<0.26'")
        for path in self.paths:
            if not path.is_dir():
                raise BuildError(f"--path {path} is no folder")
        if not self.output.parent.is_dir():
            raise BuildError(f"can't write {self.output}: there is no folder {self.output.parent}")

    def _look_at_sources(self) -> None:
        """Ends the build at once where a module of the application's is no Python."""
        paths = [path.resolve() for path in self.paths]
        mistake = sources.first_mistake(self.target.module, paths)
        if mistake is None:
            return
        if mistake.is_certain:
            raise BuildError(str(mistake), f"    {mistake.text}")
        own, theirs = _dotted(sys.version_info[:2]), _dotted(sandbox.PYTHON)
        self.tell(f"{mistake} (for Python {own}; the sandbox, which has {theirs}, will tell)")

    def _packages(self) -> Packages:
        """What is installed for the application, after a line that says where that is."""
        packages = Packages.of(self.python or interpreter(self.paths))
        theirs = _dotted(sandbox.PYTHON)
        is_other = packages.version != sandbox.PYTHON
        differs = f" (Python {_dotted(packages.version)}; the sandbox has {theirs})"
        self.tell(f"packages are those of {packages.prefix}{differs if is_other else ''}")
        for package, required in requirements.missing(packages.folders, packages.version):
            self.tell(
                f"{package} requires {required} with Python {theirs}, which the sandbox has: "
                f"pip install {required}"
            )
        return packages

    def _search_path(self, folder: Path, main: Path, packages: Packages) -> list["_Searched"]:
        """Where modules are found: the main module's folder, the application's, this package, and
        what is installed."""
        own = Path(__file__).resolve().parent.parent
        found = [_Searched("main", main, main)]
        for number, path in enumerate(self.paths):
            place = staged_application(path, folder / f"application-{number}")
            found.append(_Searched("own", place, path.resolve()))
        known = {each.name for each in found}
        found.append(_Searched("installed", own, own))
        for place, name in packages.staged(folder):
            if place != own and place.resolve() not in known:
                found.append(_Searched("installed", place, name))
        if zones := _time_zones([each.place for each in found], folder):
            found.append(_Searched("installed", zones, zones))
        return found

    def _plan(self, search: list["_Searched"]) -> dict[str, object]:
        """What the sandbox's side is told. `prepare` documents it."""
        # componentize-py counts the folders, and so they are called in the sandbox.
        names = {f"/{number}": str(each.name) for number, each in enumerate(search)}
        kinds = {f"/{number}": each.kind for number, each in enumerate(search)}
        return {
            "module": self.target.module,
            "attribute": self.target.attribute,
            "is_factory": self.target.is_factory,
            "imports": self.imports,
            "warm": self.warm,
            "include": self.include,
            "main_folder": "/0",
            "own_folders": [name for name, kind in kinds.items() if kind == "own"],
            "installed_folders": [name for name, kind in kinds.items() if kind == "installed"],
            "names": names,
        }


@dataclasses.dataclass(frozen=True)
class _Searched:
    """A folder in which the sandbox finds modules."""

    #: `main`, `own` or `installed`.
    kind: str
    place: Path
    #: What it is called to the user.
    name: Path


def _time_zones(places: list[Path], folder: Path) -> Path | None:
    """A folder with the package of time zones that is installed beside this one, where the
    application's packages have none."""
    spec = importlib.util.find_spec("tzdata")
    if spec is None or spec.origin is None or any((each / "tzdata").is_dir() for each in places):
        return None
    aside = folder / "time-zones"
    shutil.copytree(Path(spec.origin).parent, aside / "tzdata")
    return aside


def _dotted(version: tuple[int, ...]) -> str:
    return ".".join(map(str, version))


def componentize(
    search_path: list[Path],
    output: Path,
    empty: Path,
    main_module: str = MAIN_MODULE,
    world: str = "handler",
    wit: Path = WIT,
) -> None:
    """Has componentize-py make a component of a module, for a world of those in the folder `wit`.
    `empty` is an empty folder.

    Raises:
        BuildError: where it can't.
    """
    command = [sys.executable, "-c", "from componentize_py import script; script()"]
    command += ["--quiet", "--wit-path", str(wit), "--world", world]
    command += ["componentize", main_module, "--output", str(output)]
    for folder in search_path:
        command += ["--python-path", str(folder)]
    # It would add the packages of this environment, of pipenv's or of whichever Python is first.
    environment = {name: value for name, value in os.environ.items() if name != "VIRTUAL_ENV"}
    environment["PATH"] = str(empty)
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


def _reported(main_folder: Path, output: str) -> BuildError | None:
    """The reason that the sandbox gave, with what the application printed before it."""
    try:
        report = json.loads((main_folder / FILE_NAME).read_text("utf-8"))
        line, details = report["line"], report["details"]
    except (OSError, ValueError, KeyError):
        return None
    written = output.partition("AssertionError: ")[2].rpartition("\n\nCaused by:")[0]
    return BuildError(line, f"{written.strip()}\n{details}".strip())


def _understand(output: str) -> BuildError:
    """The reason in what componentize-py wrote, where the sandbox could not give one."""
    if "fuel allocated for hostcalls" in output:
        return BuildError(
            "once imported, the application takes more memory than the 128 MiB that "
            "componentize-py can store"
        )
    return BuildError("componentize-py failed; what it wrote is above", output.rstrip())


def lightened(component: bytes) -> bytes:
    """The component with objects that are no longer counted. If that can't be done it is as good as
    before, and slower."""
    try:
        snapshot = Snapshot(component)
        immortalize(snapshot)
    except SnapshotError as error:
        print(f"wasgi: a request will copy more memory than it has to: {error}", file=sys.stderr)
        return component
    return bytes(snapshot.component)


def guarded(component: bytes) -> bytes:
    """The component in which deep recursion is an exception. If that can't be done, it traps."""
    try:
        return recursion.guarded(component)
    except recursion.LayoutError as error:
        print(f"wasgi: deep recursion will trap: {error}", file=sys.stderr)
        return component


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
