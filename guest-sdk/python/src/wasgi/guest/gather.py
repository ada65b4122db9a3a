"""Collects the files that an application may read later. Runs at the build, while there is a file
system."""

from __future__ import annotations

import os
import sys

from wasgi.guest.files import Files

#: The maximum size of all files of a component, in bytes, compressed. They are part of each
#: instance's memory, whose default limit is 128 MiB. Django has 10 MiB.
TOTAL_BYTES_MAX = 24 << 20

#: The maximum size of a file, in bytes. It is read into memory, of which componentize-py can store
#: at most 128 MiB.
FILE_BYTES_MAX = 8 << 20

#: The maximum size of the packages that are included because others require them, in bytes,
#: compressed.
COMPANIONS_BYTES_MAX = 4 << 20

#: The folder of the standard library in the sandbox.
STANDARD_LIBRARY = "/python"

#: Parts of the standard library that are useless without a terminal, a screen, a compiler or
#: processes.
_NOT_NEEDED = frozenset(
    """_pyrepl ctypes curses ensurepip idlelib pydoc_data site-packages test
    tkinter turtle.py turtledemo venv lib config-3.14-wasm32-wasi""".split()
)

#: Tool folders without files that an application reads: version control, caches, and packages of
#: another language. The build reports each that it omits from an application.
_TOOLS = frozenset(
    """.git .hg .svn .tox .nox .mypy_cache .pytest_cache .ruff_cache node_modules""".split()
)

#: Useless files of installed packages: native code of another platform, and the sources of
#: translations.
_USELESS_INSTALLED = (".so", ".pyd", ".dll", ".dylib", ".a", ".po", ".pot")

#: The files of an installed package that `importlib.metadata` reads.
_METADATA = frozenset(["METADATA", "entry_points.txt", "top_level.txt", "RECORD"])

#: The start of a component: magic number, version and layer.
_COMPONENT = b"\0asm\x0d\0\1\0"

#: The maximum depth of nested folders.
_DEPTH_MAX = 100


class TooLarge(Exception):
    """The files exceed a limit: a path, and which limit it exceeds."""

    def __init__(self, path: str, reason: str) -> None:
        super().__init__(path, reason)
        self.path = path
        self.reason = reason


class Gatherer:
    """Collects all files in the application's folders, the imported or named installed packages,
    and the standard library."""

    def __init__(self, files: Files) -> None:
        self.files = files
        #: Paths of the application that are omitted, and may be missed.
        self.left_out: list[str] = []

    def standard_library(self) -> None:
        self._tree(STANDARD_LIBRARY, is_own=False, skip=_NOT_NEEDED)

    def installed(self, folder: str, include: list[str]) -> None:
        """Collects the packages in a folder that are imported or named.

        Raises:
            TooLarge: if they exceed the limit.
        """
        wanted = {name.partition(".")[0] for name in sys.modules} | set(include)
        names = sorted(os.listdir(folder))
        self.files.add_folder(folder, os.stat(folder))
        for name in names:
            path = f"{folder}/{name}"
            if name.endswith((".dist-info", ".egg-info")) and os.path.isdir(path):
                self._tree(path, is_own=False, only=_METADATA)
            elif name.removesuffix(".py") in wanted:
                if os.path.isdir(path):
                    self._tree(path, is_own=False)
                else:
                    self._file(path, is_own=False)

    def companions(self, folders: list[str], required: dict[str, list[str]]) -> None:
        """Collects packages that are not imported yet but required by imported ones (`required`, by
        module name), since they may be imported late. Stops when the limit is reached."""
        reached = {name.partition(".")[0] for name in sys.modules}
        waiting = sorted(reached)
        room = self.files.size_bytes + COMPANIONS_BYTES_MAX
        while waiting:
            for name in required.get(waiting.pop(), ()):
                if name in reached:
                    continue
                reached.add(name)
                waiting.append(name)
                try:
                    self._companion(folders, name)
                except TooLarge:
                    return
                if self.files.size_bytes > room:
                    return

    def _companion(self, folders: list[str], name: str) -> None:
        for folder in folders:
            if os.path.isdir(f"{folder}/{name}"):
                self._tree(f"{folder}/{name}", is_own=False)
            elif os.path.isfile(f"{folder}/{name}.py"):
                self._file(f"{folder}/{name}.py", is_own=False)

    def own(self, folder: str, skip: frozenset[str] = frozenset()) -> None:
        """Collects all files in a folder of the application, except the entries `skip`.

        Raises:
            TooLarge: if they exceed the limit.
        """
        self._tree(folder, is_own=True, skip=skip)

    def _tree(self, top: str, *, is_own: bool, skip=frozenset(), only=None, above=()) -> None:
        status = os.stat(top)
        # Identified by device and inode: a link may lead back to a parent folder.
        if (status.st_dev, status.st_ino) in above or len(above) > _DEPTH_MAX:
            return
        above = (*above, (status.st_dev, status.st_ino))
        # Listed before the folder is added to the tree, which would then be listed instead.
        names = sorted(os.listdir(top))
        self.files.add_folder(top, status)
        for name in names:
            path = f"{top}/{name}"
            if name == "__pycache__" or name in skip:
                continue
            if os.path.isdir(path):
                if name in _TOOLS or os.path.exists(f"{path}/pyvenv.cfg"):
                    if is_own:
                        self.left_out.append(path)
                else:
                    self._tree(path, is_own=is_own, only=only, above=above)
            elif only is None or name in only:
                self._file(path, is_own)

    def _file(self, path: str, is_own: bool) -> None:
        if not is_own and path.endswith((*_USELESS_INSTALLED, ".pyc")):
            return
        try:
            status = os.stat(path)
            if is_own and path.endswith(".wasm") and self._is_component(path):
                self.left_out.append(path)
                return
            # Checked before reading: memory that has been allocated once is part of the snapshot.
            if status.st_size > FILE_BYTES_MAX:
                raise TooLarge(path, f"has more than {FILE_BYTES_MAX >> 20} MiB")
            content = _content(path)
        except OSError:
            # A broken link, or an unreadable file, which could not have been read later either.
            if is_own:
                self.left_out.append(path)
            return
        self.files.add(path, content, status)
        if self.files.size_bytes > TOTAL_BYTES_MAX:
            raise TooLarge(path, f"and the files before it have more than {TOTAL_BYTES_MAX >> 20} MiB")

    @staticmethod
    def _is_component(path: str) -> bool:
        """Returns whether a file is a component, such as the output of an earlier build."""
        with open(path, "rb") as file:
            return file.read(len(_COMPONENT)) == _COMPONENT


def _content(path: str) -> bytes:
    with open(path, "rb") as file:
        return file.read()
