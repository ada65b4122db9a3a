"""Finds the files that an application may ask for later. Runs while a component is built, when
there is a file system."""

from __future__ import annotations

import os
import sys

from wasgi.guest.files import Files

#: All files of one component together, in bytes, compressed. They are part of each instance's
#: memory, whose budget is 128 MiB unless the server is told otherwise. Django has 10 MiB.
TOTAL_BYTES_MAX = 24 << 20

#: One file, in bytes. It is read whole, and componentize-py takes 128 MiB of memory at the most.
FILE_BYTES_MAX = 8 << 20

#: Where the standard library is in the sandbox.
STANDARD_LIBRARY = "/python"

#: Of the standard library: what has no use without a terminal, a screen, a compiler or processes.
_NOT_NEEDED = frozenset(
    """_pyrepl ctypes curses dbm ensurepip idlelib multiprocessing pydoc_data site-packages test
    tkinter turtle.py turtledemo venv lib config-3.14-wasm32-wasi""".split()
)

#: Folders in which nobody looks for an application's files.
_PRUNED = frozenset(["__pycache__", "node_modules", "venv", "env", "target"])

#: What the sandbox can't use: native code, compiled modules of another Python, translations'
#: sources, components.
_USELESS = (".so", ".pyc", ".pyd", ".dll", ".dylib", ".a", ".po", ".pot", ".wasm", ".whl")

#: What `importlib.metadata` reads of an installed package.
_METADATA = frozenset(["METADATA", "entry_points.txt", "top_level.txt"])


class TooLarge(Exception):
    """There is more than may be kept: a file, and how it is too much."""

    def __init__(self, path: str, reason: str) -> None:
        super().__init__(path, reason)
        self.path = path
        self.reason = reason


def gather(own_folders: list[str], installed_folders: list[str], include: list[str]) -> Files:
    """Everything in the application's own folders, what is imported or named in `include` of the
    installed ones, and the standard library.

    Raises:
        TooLarge: where that is more than fits.
    """
    files = Files()
    wanted = {name.partition(".")[0] for name in sys.modules} | set(include)
    _add_tree(files, STANDARD_LIBRARY, skip=_NOT_NEEDED)
    for folder in installed_folders:
        _add_installed(files, folder, wanted)
    for folder in own_folders:
        _add_tree(files, folder)
    return files


def _add_installed(files: Files, folder: str, wanted: set[str]) -> None:
    files.add_folder(folder, os.stat(folder))
    for name in sorted(os.listdir(folder)):
        path = f"{folder}/{name}"
        if name.endswith(".dist-info"):
            _add_tree(files, path, only=_METADATA)
        elif name.removesuffix(".py") in wanted:
            if os.path.isdir(path):
                _add_tree(files, path, skip=frozenset(["tests", "test"]))
            else:
                _add_file(files, path)


def _add_tree(files: Files, top: str, *, skip: frozenset = frozenset(), only=None) -> None:
    for folder, folders, names in os.walk(top):
        folders[:] = sorted(
            name for name in folders
            if name not in _PRUNED and name not in skip and not name.startswith(".")
            and not os.path.exists(f"{folder}/{name}/pyvenv.cfg")
        )
        files.add_folder(folder, os.stat(folder))
        for name in sorted(names):
            if name in skip or name.startswith(".") or only is not None and name not in only:
                continue
            _add_file(files, f"{folder}/{name}")


def _add_file(files: Files, path: str) -> None:
    if path.endswith(_USELESS):
        return
    try:
        status = os.stat(path)
        # Asked before it is read: memory that was taken once is part of the snapshot.
        if status.st_size > FILE_BYTES_MAX:
            raise TooLarge(path, f"has more than {FILE_BYTES_MAX >> 20} MiB")
        with open(path, "rb") as file:
            content = file.read()
    except OSError:
        # A broken link, or a file that may not be read: it would not have been read later either.
        return
    files.add(path, content, status)
    if files.size_bytes > TOTAL_BYTES_MAX:
        raise TooLarge(path, f"and those before it have more than {TOTAL_BYTES_MAX >> 20} MiB")
