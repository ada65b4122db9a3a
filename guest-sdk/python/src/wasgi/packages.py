"""Finds an application's packages: the interpreter that they are installed for, its search path,
and the parts that WebAssembly's file system can't access directly."""

from __future__ import annotations

import dataclasses
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

#: The names of a virtual environment's folder next to an application.
_ENVIRONMENT_NAMES = (".venv", "venv")

#: The time limit for a query to another interpreter, in seconds. It normally takes 50 ms.
_ASK_SECONDS = 60

#: The maximum size of linked files to copy, in bytes: the maximum that componentize-py can store of
#: a whole application.
_LINKED_BYTES_MAX = 128 << 20

#: Prints an interpreter's folders, its version, and the packages that an import hook maps to
#: folders, as setuptools does for `pip install -e`.
_ASK = """\
import json, os, sys, sysconfig
mapped = {}
for finder in sys.meta_path:
    module = sys.modules.get(getattr(finder, "__module__", None) or type(finder).__module__)
    if getattr(module, "__name__", "").startswith("__editable__"):
        mapped.update(getattr(module, "MAPPING", {}))
own = [sysconfig.get_path("stdlib"), sysconfig.get_path("platstdlib")]
own += [os.path.join(folder, "lib-dynload") for folder in own]
# The first is the current folder, as for every program given by `-c`.
print(json.dumps({
    "folders": [f for f in sys.path[1:] if f not in own and os.path.isdir(f)],
    "mapped": mapped,
    "version": list(sys.version_info[:2]),
    "prefix": sys.prefix,
}))
"""


class PackagesError(Exception):
    """The packages can't be found or copied. The message is one line."""


@dataclasses.dataclass(frozen=True)
class Packages:
    """The packages that are installed for one interpreter."""

    #: The folders on its search path other than the standard library, in order: `site-packages`,
    #: those from `.pth` files, PYTHONPATH.
    folders: list[Path]
    #: The packages that `pip install -e` maps to other folders, by name.
    mapped: dict[str, Path]
    #: The interpreter's major and minor version.
    version: tuple[int, int]
    #: The environment's folder.
    prefix: Path

    @classmethod
    def of(cls, interpreter: Path) -> "Packages":
        """Queries an interpreter.

        Raises:
            PackagesError: if it can't be run.
        """
        try:
            done = subprocess.run(
                [str(interpreter), "-c", _ASK],
                env=_without_safe_path(),
                capture_output=True,
                text=True,
                timeout=_ASK_SECONDS,
                check=True,
            )
            told = json.loads(done.stdout.splitlines()[-1])
        except (OSError, subprocess.SubprocessError, ValueError, IndexError) as error:
            raise PackagesError(f"{interpreter}: can't list its packages: {error}") from None
        return cls(
            folders=[Path(folder) for folder in told["folders"]],
            mapped={name: Path(path) for name, path in told["mapped"].items()},
            version=tuple(told["version"]),
            prefix=Path(told["prefix"]),
        )

    def staged(self, folder: Path) -> list[tuple[Path, Path]]:
        """Returns the folders in a form that the sandbox can read, each with the original folder.

        Linked and mapped packages are copied to `folder`, since the sandbox's file system doesn't
        follow links out of a folder.

        Raises:
            PackagesError: if their size exceeds the limit.
        """
        found: list[tuple[Path, Path]] = []
        copier = _Copier(_LINKED_BYTES_MAX)
        if self.mapped:
            aside = folder / "mapped"
            aside.mkdir()
            for name, source in self.mapped.items():
                copier.copy_module(source, aside / name.replace(".", "/"))
            found.append((aside, aside))
        for number, installed in enumerate(self.folders):
            linked = [entry for entry in _entries(installed) if leads_out(entry, installed)]
            if linked:
                aside = folder / f"linked-{number}"
                aside.mkdir()
                for entry in linked:
                    copier.copy(entry, aside / entry.name)
                found.append((aside, installed))
            found.append((installed, installed))
        return found


def _without_safe_path() -> dict[str, str]:
    """Returns the environment variables with which `_ASK` finds the current folder as expected."""
    return {name: value for name, value in os.environ.items() if name != "PYTHONSAFEPATH"}


def interpreter(paths: list[Path]) -> Path:
    """Returns the interpreter whose packages are used: the running one if it belongs to a virtual
    environment; otherwise that of an activated environment, or of one next to the application;
    otherwise the running one."""
    if sys.prefix == sys.base_prefix:
        candidates = [os.environ.get("VIRTUAL_ENV", "")]
        for path in paths:
            candidates += [path / name for name in _ENVIRONMENT_NAMES]
            candidates += [path.resolve().parent / name for name in _ENVIRONMENT_NAMES]
        for candidate in candidates:
            if found := _interpreter_in(Path(candidate)) if candidate else None:
                return found
    return Path(sys.executable)


def _interpreter_in(environment: Path) -> Path | None:
    if not (environment / "pyvenv.cfg").is_file():
        return None
    for place in ("bin/python", "Scripts/python.exe"):
        # Not resolved: the interpreter finds its environment by the path with which it is called.
        if (environment / place).is_file():
            return (environment / place).absolute()
    return None


def staged_application(path: Path, aside: Path) -> Path:
    """Returns a folder of the application in a form that the sandbox can read: the folder itself,
    or a copy in `aside` if it contains links to other places.

    Raises:
        PackagesError: if the size exceeds the limit.
    """
    path = path.resolve()
    if not any(leads_out(entry, path) for entry in _entries(path)):
        return path
    _Copier(_LINKED_BYTES_MAX).copy(path, aside)
    return aside


def leads_out(entry: Path, top: Path) -> bool:
    """Returns whether a path is or contains a link that the sandbox can't follow: one that is
    absolute, or leads out of `top`."""
    if entry.is_symlink():
        return entry.exists() and (
            os.path.isabs(os.readlink(entry)) or not _is_within(entry.resolve(), top.resolve())
        )
    if not entry.is_dir() or is_environment(entry):
        return False
    return any(leads_out(inner, top) for inner in _entries(entry))


def is_environment(folder: Path) -> bool:
    """Returns whether a folder is a virtual environment, which doesn't belong to an application."""
    return (folder / "pyvenv.cfg").is_file()


def _entries(folder: Path) -> list[Path]:
    try:
        return [Path(entry.path) for entry in os.scandir(folder)]
    except OSError:
        return []


def _is_within(path: Path, top: Path) -> bool:
    return path == top or top in path.parents


class _Copier:
    """Copies trees and the targets of their links, up to a maximum size."""

    def __init__(self, bytes_max: int) -> None:
        self._bytes_max = bytes_max
        self._bytes = 0

    def copy_module(self, source: Path, target: Path) -> None:
        """Copies a package's folder, or a module that is named with or without its extension."""
        file = source if source.is_file() else source.with_name(f"{source.name}.py")
        if source.is_dir():
            self.copy(source, target)
        elif file.is_file():
            target.parent.mkdir(parents=True, exist_ok=True)
            self.copy(file, target.with_name(f"{target.name}{file.suffix}"))

    def copy(self, source: Path, target: Path, above: tuple[Path, ...] = ()) -> None:
        """Copies a file or a tree. Skips links that lead back to a parent folder, and unreadable
        files."""
        real = source.resolve()
        if real in above or is_environment(source) or source.name == "__pycache__":
            return
        if source.is_dir():
            target.mkdir(parents=True, exist_ok=True)
            for entry in _entries(source):
                self.copy(entry, target / entry.name, (*above, real))
        elif source.is_file():
            self._bytes += source.stat().st_size
            if self._bytes > self._bytes_max:
                raise PackagesError(
                    f"{source}: linked files exceed {self._bytes_max >> 20} MiB; install the "
                    "package, or use --path with a folder that contains only the application"
                )
            try:
                shutil.copy2(source, target)
            except OSError:
                return
