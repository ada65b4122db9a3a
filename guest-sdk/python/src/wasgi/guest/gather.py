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

#: Packages that are kept because others require them, together, in bytes, compressed.
COMPANIONS_BYTES_MAX = 4 << 20

#: Where the standard library is in the sandbox.
STANDARD_LIBRARY = "/python"

#: Of the standard library: what has no use without a terminal, a screen, a compiler or processes.
_NOT_NEEDED = frozenset(
    """_pyrepl ctypes curses ensurepip idlelib pydoc_data site-packages test
    tkinter turtle.py turtledemo venv lib config-3.14-wasm32-wasi""".split()
)

#: Folders of tools, which hold nothing that an application reads: version control, caches, and
#: packages of another language. The build says so where it leaves one out of an application.
_TOOLS = frozenset(
    """.git .hg .svn .tox .nox .mypy_cache .pytest_cache .ruff_cache node_modules""".split()
)

#: Of installed packages: native code of another machine, and what translations are made of.
_USELESS_INSTALLED = (".so", ".pyd", ".dll", ".dylib", ".a", ".po", ".pot")

#: What `importlib.metadata` reads of an installed package.
_METADATA = frozenset(["METADATA", "entry_points.txt", "top_level.txt", "RECORD"])

#: How a component begins: magic number, version and layer.
_COMPONENT = b"\0asm\x0d\0\1\0"

#: Folders within each other, at most.
_DEPTH_MAX = 100


class TooLarge(Exception):
    """There is more than may be kept: a file, and how it is too much."""

    def __init__(self, path: str, reason: str) -> None:
        super().__init__(path, reason)
        self.path = path
        self.reason = reason


class Gatherer:
    """Everything in the application's own folders, what is imported or named of the installed ones,
    and the standard library."""

    def __init__(self, files: Files) -> None:
        self.files = files
        #: Paths of the application's that are left out, and may be missed.
        self.left_out: list[str] = []

    def standard_library(self) -> None:
        self._tree(STANDARD_LIBRARY, is_own=False, skip=_NOT_NEEDED)

    def installed(self, folder: str, include: list[str]) -> None:
        """Of a folder of installed packages, those that are imported or named.

        Raises:
            TooLarge: where that is more than fits.
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
        """Packages that nothing has imported yet and that those imported require (`required`, by the
        names of modules): what they import late. As far as there is room for them."""
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

    def own(self, folder: str) -> None:
        """All that is in a folder of the application's.

        Raises:
            TooLarge: where that is more than fits.
        """
        self._tree(folder, is_own=True)

    def _tree(self, top: str, *, is_own: bool, skip=frozenset(), only=None, above=()) -> None:
        status = os.stat(top)
        # By what the system calls it: a link may lead back to a folder above.
        if (status.st_dev, status.st_ino) in above or len(above) > _DEPTH_MAX:
            return
        above = (*above, (status.st_dev, status.st_ino))
        # Before the tree has the folder, which is then what is listed.
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
            # Asked before it is read: memory that was taken once is part of the snapshot.
            if status.st_size > FILE_BYTES_MAX:
                raise TooLarge(path, f"has more than {FILE_BYTES_MAX >> 20} MiB")
            content = _content(path)
        except OSError:
            # A broken link, or a file that may not be read: it would not have been read later
            # either.
            if is_own:
                self.left_out.append(path)
            return
        self.files.add(path, content, status)
        if self.files.size_bytes > TOTAL_BYTES_MAX:
            raise TooLarge(path, f"and those before it have more than {TOTAL_BYTES_MAX >> 20} MiB")

    @staticmethod
    def _is_component(path: str) -> bool:
        """Whether a file is a component, such as the one that an earlier build wrote."""
        with open(path, "rb") as file:
            return file.read(len(_COMPONENT)) == _COMPONENT


def _content(path: str) -> bytes:
    with open(path, "rb") as file:
        return file.read()
