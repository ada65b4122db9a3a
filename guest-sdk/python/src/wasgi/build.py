"""Builds a component: runs componentize-py on a small main module, and explains its failures."""

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

#: The module that componentize-py wraps. It must differ from the world's name, which is generated.
MAIN_MODULE = "wasgi_main"

#: The folder with the contract.
WIT = Path(__file__).resolve().parent / "wit"

#: The time limit of a build, in seconds: Django with its admin takes half a minute.
_TIMEOUT_SECONDS = 900

_MAIN = """\
from wasgi.guest.prepare import prepare

Application = prepare({plan!r})
"""


class BuildError(Exception):
    """The reason why no component was built: one line, and optional details."""

    def __init__(self, line: str, details: str = "") -> None:
        super().__init__(line)
        self.details = details


@dataclasses.dataclass
class Build:
    """The parameters of a component to build."""

    target: Target
    output: Path
    #: The application's own folders.
    paths: list[Path]
    #: Modules to import in addition to the application.
    imports: list[str] = dataclasses.field(default_factory=list)
    #: Paths to request before the snapshot is taken.
    warm: list[str] = dataclasses.field(default_factory=list)
    #: Installed packages to include even if nothing imports them.
    include: list[str] = dataclasses.field(default_factory=list)
    #: The interpreter whose packages are used, instead of the one that is found.
    python: Path | None = None
    #: Prints a line for the user.
    tell: Callable[[str], None] = lambda line: None

    def run(self) -> int:
        """Writes the component atomically, and returns its size in bytes.

        Raises:
            BuildError: if the application can't be imported, or componentize-py fails.
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
                raise BuildError(f"--path {path}: not a folder")
        if not self.output.parent.is_dir():
            raise BuildError(f"can't write {self.output}: no folder {self.output.parent}")

    def _look_at_sources(self) -> None:
        """Ends the build early if a module of the application is not valid Python."""
        paths = [path.resolve() for path in self.paths]
        mistake = sources.first_mistake(self.target.module, paths)
        if mistake is None:
            return
        if mistake.is_certain:
            raise BuildError(str(mistake), f"    {mistake.text}")
        own, theirs = _dotted(sys.version_info[:2]), _dotted(sandbox.PYTHON)
        self.tell(f"{mistake} (for Python {own}; the sandbox has {theirs} and may accept it)")

    def _packages(self) -> Packages:
        """Returns the packages that are installed for the application. Prints their location."""
        packages = Packages.of(self.python or interpreter(self.paths))
        theirs = _dotted(sandbox.PYTHON)
        is_other = packages.version != sandbox.PYTHON
        differs = f" (Python {_dotted(packages.version)}; the sandbox has {theirs})"
        self.tell(f"using the packages of {packages.prefix}{differs if is_other else ''}")
        for package, required in requirements.missing(packages.folders, packages.version):
            self.tell(
                f"{package} requires {required} with the sandbox's Python {theirs}: "
                f"pip install {required}"
            )
        return packages

    def _search_path(self, folder: Path, main: Path, packages: Packages) -> list["_Searched"]:
        """Returns the search path for modules: the main module's folder, the application's, this
        package, and the installed packages."""
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
        """Returns the plan for the sandbox, which `prepare` documents."""
        # In the sandbox, componentize-py names the folders by their index.
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
    """A folder on the sandbox's search path."""

    #: One of `main`, `own` and `installed`.
    kind: str
    place: Path
    #: The path to show to the user.
    name: Path


def _time_zones(places: list[Path], folder: Path) -> Path | None:
    """Returns a folder with the time zone package that is installed beside this one, if the
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
    world: str = "python",
    wit: Path = WIT,
) -> None:
    """Runs componentize-py to build a component from a module, for a world in the folder `wit`.
    `empty` must be an empty folder.

    Raises:
        BuildError: if it fails.
    """
    command = [sys.executable, "-c", "from componentize_py import script; script()"]
    command += ["--quiet", "--wit-path", str(wit), "--world", world]
    command += ["componentize", main_module, "--output", str(output)]
    for folder in search_path:
        command += ["--python-path", str(folder)]
    # Otherwise it would add the packages of this environment, of pipenv, or of the first Python on
    # the path.
    environment = {name: value for name, value in os.environ.items() if name != "VIRTUAL_ENV"}
    environment["PATH"] = str(empty)
    # Its errors are parsed, and a backtrace of its own code doesn't help users.
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
        raise BuildError(f"the build did not finish within {_TIMEOUT_SECONDS} s") from None
    if done.returncode != 0:
        raise _understand(done.stderr)


def _reported(main_folder: Path, output: str) -> BuildError | None:
    """Returns the reason that the sandbox reported, with the application's output before it."""
    try:
        report = json.loads((main_folder / FILE_NAME).read_text("utf-8"))
        line, details = report["line"], report["details"]
    except (OSError, ValueError, KeyError):
        return None
    written = output.partition("AssertionError: ")[2].rpartition("\n\nCaused by:")[0]
    return BuildError(line, f"{written.strip()}\n{details}".strip())


def _understand(output: str) -> BuildError:
    """Derives the reason from componentize-py's output, if the sandbox could not report one."""
    if "fuel allocated for hostcalls" in output:
        return BuildError(
            "after its import, the application uses more than 128 MiB of memory, the limit of "
            "componentize-py"
        )
    return BuildError("componentize-py failed; its output is above", output.rstrip())


def lightened(component: bytes) -> bytes:
    """Returns the component with immortal objects. If that fails, returns it unchanged, which is
    correct but slower."""
    try:
        snapshot = Snapshot(component)
        immortalize(snapshot)
    except SnapshotError as error:
        print(f"wasgi: requests will copy more memory than necessary: {error}", file=sys.stderr)
        return component
    return bytes(snapshot.component)


def guarded(component: bytes) -> bytes:
    """Returns the component in which deep recursion raises an exception. If that fails, deep
    recursion traps."""
    try:
        return recursion.guarded(component)
    except recursion.LayoutError as error:
        print(f"wasgi: deep recursion will trap instead of raising RecursionError: {error}", file=sys.stderr)
        return component


def _install(content: bytes, output: Path) -> int:
    """Installs the component by a rename, so that a watching server never sees a partial file."""
    # The name starts with a dot, because the server ignores such files.
    aside = output.with_name(f".{output.name}.{os.getpid()}")
    try:
        aside.write_bytes(content)
        aside.replace(output)
    except OSError as error:
        aside.unlink(missing_ok=True)
        raise BuildError(f"can't write {output}: {error.strerror}") from None
    return len(content)
