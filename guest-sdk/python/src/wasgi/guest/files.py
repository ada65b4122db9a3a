"""Files that the application had when it was built, kept in memory.

A handler has no file system. So that templates, translations, modules that are imported late and
the source lines of tracebacks are found all the same, the functions that Python opens and looks at
files with are replaced by ones that look here first. What is not here goes to the system, which
says no.
"""

from __future__ import annotations

import errno
import io
import os
import stat
import sys
import zlib

#: Files smaller than this are kept as they are, in bytes: there is little to save.
_COMPRESS_FROM_BYTES = 512


class Files:
    """A read-only tree of files, by absolute path."""

    def __init__(self) -> None:
        self._contents: dict[str, tuple[bytes, bool]] = {}
        self._stats: dict[str, os.stat_result] = {}
        self._folders: dict[str, list[str]] = {}
        #: What the contents take up, compressed.
        self.size_bytes = 0

    def __len__(self) -> int:
        return len(self._contents)

    def add(self, path: str, content: bytes, status: os.stat_result) -> None:
        """Keeps a file."""
        small = zlib.compress(content) if len(content) >= _COMPRESS_FROM_BYTES else content
        is_small = len(small) < len(content)
        self._contents[path] = (small if is_small else content, is_small)
        self.size_bytes += len(self._contents[path][0])
        self._stats[path] = status
        folder, _, name = path.rpartition("/")
        self._folders.setdefault(folder or "/", []).append(name)

    def add_folder(self, path: str, status: os.stat_result) -> None:
        """Keeps a folder, whose files may be added before or after it."""
        self._folders.setdefault(path, [])
        self._stats[path] = status
        parent, _, name = path.rpartition("/")
        if name and name not in self._folders.setdefault(parent or "/", []):
            self._folders[parent or "/"].append(name)

    def has(self, path: str) -> bool:
        """Whether there is such a file or folder."""
        return path in self._stats

    def read(self, path: str) -> bytes | None:
        """A file's content, or none where there is no such file."""
        entry = self._contents.get(path)
        if entry is None:
            return None
        content, is_small = entry
        return zlib.decompress(content) if is_small else content

    def status(self, path: str) -> os.stat_result | None:
        """What `os.stat` says of a file or folder, or none."""
        return self._stats.get(path)

    def names(self, path: str) -> list[str] | None:
        """What is in a folder, or none where there is no such folder."""
        names = self._folders.get(path)
        return None if names is None else list(names)


class _Binary(io.BytesIO):
    """An open file, with the name that Python's own has."""

    name: str
    mode = "rb"


class _Entry:
    """What `os.scandir` gives for one name: an `os.DirEntry`."""

    def __init__(self, folder: str, name: str, status: os.stat_result) -> None:
        self.name = name
        self.path = os.path.join(folder, name)
        self._status = status

    def __fspath__(self) -> str:
        return self.path

    def inode(self) -> int:
        return self._status.st_ino

    def is_dir(self, *, follow_symlinks: bool = True) -> bool:
        return stat.S_ISDIR(self._status.st_mode)

    def is_file(self, *, follow_symlinks: bool = True) -> bool:
        return stat.S_ISREG(self._status.st_mode)

    def is_symlink(self) -> bool:
        return False

    def is_junction(self) -> bool:
        return False

    def stat(self, *, follow_symlinks: bool = True) -> os.stat_result:
        return self._status


class _Scan:
    """The iterator of `os.scandir`, which is also a context manager."""

    def __init__(self, entries: list[_Entry]) -> None:
        self._entries = iter(entries)

    def __iter__(self) -> "_Scan":
        return self

    def __next__(self) -> _Entry:
        return next(self._entries)

    def __enter__(self) -> "_Scan":
        return self

    def __exit__(self, *_) -> None:
        self.close()

    def close(self) -> None:
        self._entries = iter(())


class Overlay:
    """Python's functions for files, with `Files` in front."""

    def __init__(self, files: Files) -> None:
        self._files = files
        self._open = io.open
        self._open_code = io.open_code
        self._stat = os.stat
        self._lstat = os.lstat
        self._listdir = os.listdir
        self._scandir = os.scandir
        self._access = os.access

    def open(self, file, mode="r", buffering=-1, encoding=None, errors=None, newline=None,
             closefd=True, opener=None):
        """`open`. What is kept can only be read."""
        path = self._path(file) if opener is None else None
        if path is not None and self._files.has(path):
            if set(mode) & set("wax+"):
                raise OSError(errno.EROFS, "a handler's files can't be written", path)
            content = self._files.read(path)
            if content is None:
                raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR), path)
            binary = _Binary(content)
            binary.name = file
            if "b" in mode:
                return binary
            # Files are UTF-8 here: there is no locale that could say otherwise.
            return io.TextIOWrapper(binary, encoding or "utf-8", errors, newline)
        return self._open(file, mode, buffering, encoding, errors, newline, closefd, opener)

    def open_code(self, path):
        """`io.open_code`, by which modules are read."""
        kept = self._path(path)
        if kept is not None and self._files.read(kept) is not None:
            return self.open(path, "rb")
        return self._open_code(path)

    def stat(self, path, *, dir_fd=None, follow_symlinks=True):
        """`os.stat`."""
        status = self._status(path, dir_fd)
        if status is not None:
            return status
        return self._stat(path, dir_fd=dir_fd, follow_symlinks=follow_symlinks)

    def lstat(self, path, *, dir_fd=None):
        """`os.lstat`: there are no symbolic links."""
        status = self._status(path, dir_fd)
        return self._lstat(path, dir_fd=dir_fd) if status is None else status

    def listdir(self, path="."):
        """`os.listdir`."""
        kept = self._path("." if path is None else path)
        names = None if kept is None else self._files.names(kept)
        return self._listdir(path) if names is None else names

    def scandir(self, path="."):
        """`os.scandir`."""
        path = "." if path is None else path
        kept = self._path(path)
        names = None if kept is None else self._files.names(kept)
        if names is None:
            return self._scandir(path)
        folder = os.fspath(path)
        found = ((name, self._files.status(os.path.join(kept, name))) for name in names)
        return _Scan([_Entry(folder, name, status) for name, status in found if status])

    def access(self, path, mode, *, dir_fd=None, effective_ids=False, follow_symlinks=True):
        """`os.access`: what is kept may be read."""
        if self._status(path, dir_fd) is not None:
            return not mode & os.W_OK
        return self._access(
            path, mode, dir_fd=dir_fd, effective_ids=effective_ids, follow_symlinks=follow_symlinks
        )

    def _status(self, path, dir_fd) -> os.stat_result | None:
        kept = self._path(path) if dir_fd is None else None
        return None if kept is None else self._files.status(kept)

    def _path(self, path) -> str | None:
        """A path as it is kept: absolute, without dots. None for a descriptor and for bytes."""
        if not isinstance(path, (str, os.PathLike)):
            return None
        path = os.fspath(path)
        if not isinstance(path, str):
            return None
        return os.path.normpath(path if path[:1] == "/" else os.path.join(os.getcwd(), path))


def lay_over(files: Files) -> None:
    """Puts `files` in front of the file system for the rest of this process.

    Modules that took a function for themselves, as `from os import stat` does, get the new one as
    well. The import system looks into `posix` and `_io`, which are among them.
    """
    overlay = Overlay(files)
    replaced = {
        id(io.open): overlay.open,
        id(io.open_code): overlay.open_code,
        id(os.stat): overlay.stat,
        id(os.lstat): overlay.lstat,
        id(os.listdir): overlay.listdir,
        id(os.scandir): overlay.scandir,
        id(os.access): overlay.access,
    }
    for module in list(sys.modules.values()):
        for name, value in list(getattr(module, "__dict__", {}).items()):
            if id(value) in replaced:
                setattr(module, name, replaced[id(value)])
