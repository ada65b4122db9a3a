"""Replaces Python's file functions with functions on the handler's own tree of files
(`wasgi.guest.files`).

A handler has no access to the machine's file system. `System.install` replaces the functions of
`os`, `io` and `builtins` that access files before the application is imported, so that the
application gets the replacements even where it stores a function: as a default argument, as a class
attribute, or by `from os import stat`. Paths outside of the tree are passed on to the system, which
has the build's folders during a build.
"""

from __future__ import annotations

import contextlib
import errno
import gc
import io
import os
import stat
import sys
from types import FunctionType

from wasgi.guest import open_file, ungranted
from wasgi.guest.files import Files, Folder, KeptFile, Node, WritableFile, failure
from wasgi.guest.open_file import OpenFile, file_class, parsed_mode

#: The first descriptor of the tree's open files. The system's descriptors are below: 0 to 2.
FIRST_DESCRIPTOR = 100

#: The maximum number of open files, as for `ulimit -n`.
_DESCRIPTORS_MAX = 1_024

#: The maximum size of a file that is read into memory when it is opened at the build, in bytes, so
#: that the handle remains usable later. Larger files are read from the system.
_READ_AT_BUILD_BYTES_MAX = 8 << 20

class _Entry:
    """An entry of `os.scandir`, like an `os.DirEntry`."""

    def __init__(self, folder, name, node: Node) -> None:
        self.name = name
        self.path = os.path.join(folder, name) if folder is not None else name
        self._node = node

    def __fspath__(self):
        return self.path

    def __repr__(self) -> str:
        return f"<DirEntry {self.name!r}>"

    def inode(self) -> int:
        return self._node.number

    def is_dir(self, *, follow_symlinks: bool = True) -> bool:
        return isinstance(self._node, Folder)

    def is_file(self, *, follow_symlinks: bool = True) -> bool:
        return not isinstance(self._node, Folder)

    def is_symlink(self) -> bool:
        return False

    def is_junction(self) -> bool:
        return False

    def stat(self, *, follow_symlinks: bool = True) -> os.stat_result:
        return self._node.status()


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


#: Functions that can change WASI's folders.
_CHANGING = (
    "link", "mkdir", "open", "rename", "rmdir", "symlink", "truncate", "unlink", "utime",
)  # fmt: skip


def _read_only(function):
    """Returns a function that reports the refusal to change a read-only folder as every other
    system does: WASI reports `EPERM`."""

    def call(*arguments, **keywords):
        try:
            return function(*arguments, **keywords)
        except PermissionError as error:
            if error.errno != errno.EPERM:
                raise
            raise failure(errno.EROFS, error.filename) from None

    return call


class System:
    """The replacement functions, each with the name and the arguments of the original."""

    def __init__(self, files: Files) -> None:
        self.files = files
        self.real = {name: getattr(os, name) for name in self._names() if hasattr(os, name)}
        self.real_open = io.open
        self._open_files: dict[int, OpenFile] = {}
        #: Whether there is a file system: that of the build.
        self.is_building = True

    @staticmethod
    def _names() -> list[str]:
        return [name.removeprefix("os_") for name in vars(System) if name.startswith("os_")]

    def install(self) -> None:
        """Replaces the system's functions in every module that refers to them."""
        replaced = {id(real): getattr(self, f"os_{name}") for name, real in self.real.items()}
        replaced[id(io.open)] = self.open
        replaced[id(io.open_code)] = self.open_code
        replaced[id(io.FileIO)] = file_class(self)
        for module in list(sys.modules.values()):
            # These modules call the original functions.
            if getattr(module, "__name__", "") in (__name__, open_file.__name__):
                continue
            for name, value in list(getattr(module, "__dict__", {}).items()):
                if id(value) in replaced:
                    setattr(module, name, replaced[id(value)])
        for known in (os.supports_fd, os.supports_follow_symlinks, os.supports_dir_fd):
            for name, real in self.real.items():
                if real in known:
                    known.discard(real)
                    known.add(getattr(self, f"os_{name}"))
        _replace_held(replaced)
        for name in _CHANGING:
            if name in self.real:
                self.real[name] = _read_only(self.real[name])

    # Files as Python opens them.

    def open(self, file, mode="r", buffering=-1, encoding=None, errors=None, newline=None,
             closefd=True, opener=None):
        """Replaces `open`."""
        kind, is_binary = parsed_mode(mode)
        if is_binary and (encoding, errors, newline) != (None, None, None):
            raise ValueError("binary mode doesn't take an encoding, errors or newline argument")
        if not is_binary and buffering == 0:
            raise ValueError("can't have unbuffered text I/O")
        raw = io.FileIO(file, kind, closefd, opener)
        try:
            if buffering == 0:
                return raw
            is_line = buffering == 1 and not is_binary
            size = buffering if buffering > 1 else io.DEFAULT_BUFFER_SIZE
            if "+" in kind:
                buffered = io.BufferedRandom(raw, size)
            elif kind[0] == "r":
                buffered = io.BufferedReader(raw, size)
            else:
                buffered = io.BufferedWriter(raw, size)
            if is_binary:
                return buffered
            # The default encoding is UTF-8: no locale could specify another one.
            text = io.TextIOWrapper(buffered, encoding or "utf-8", errors, newline, is_line)
            text.mode = mode
            return text
        except BaseException:
            raw.close()
            raise

    def open_code(self, path):
        """Replaces `io.open_code`, which reads modules. The original would call this module."""
        if self._node(path) is not None:
            return self.open(path, "rb")
        return self.real_open(path, "rb")

    # Descriptors.

    @ungranted.explained(is_changing=None)
    def os_open(self, path, flags, mode=0o777, *, dir_fd=None):
        absolute = self._path(path, dir_fd)
        if absolute is not None:
            if (opened := self._opened(absolute, path, flags)) is not None:
                return self._descriptor(opened)
        return self.real["open"](path, flags, mode, dir_fd=dir_fd)

    def os_close(self, fd):
        if self._open_files.pop(fd, None) is None:
            self.real["close"](fd)

    def os_closerange(self, low, high):
        for number in [fd for fd in self._open_files if low <= fd < high]:
            del self._open_files[number]

    def os_read(self, fd, length):
        opened = self._open_files.get(fd)
        return self.real["read"](fd, length) if opened is None else opened.read(length)

    def os_readinto(self, fd, buffer):
        opened = self._open_files.get(fd)
        if opened is None:
            return self.real["readinto"](fd, buffer)
        view = memoryview(buffer).cast("B")
        block = opened.read(len(view))
        view[: len(block)] = block
        return len(block)

    def os_pread(self, fd, length, offset):
        opened = self._open_files.get(fd)
        return self.real["pread"](fd, length, offset) if opened is None else opened.read_at(
            offset, length
        )

    def os_write(self, fd, data):
        opened = self._open_files.get(fd)
        return self.real["write"](fd, data) if opened is None else opened.write(data)

    def os_pwrite(self, fd, data, offset):
        opened = self._open_files.get(fd)
        return self.real["pwrite"](fd, data, offset) if opened is None else opened.write_at(
            offset, data
        )

    def os_lseek(self, fd, position, whence):
        opened = self._open_files.get(fd)
        return self.real["lseek"](fd, position, whence) if opened is None else opened.seek(
            position, whence
        )

    def os_ftruncate(self, fd, length):
        opened = self._open_files.get(fd)
        return self.real["ftruncate"](fd, length) if opened is None else opened.truncate(length)

    def os_dup(self, fd):
        opened = self._open_files.get(fd)
        return self.real["dup"](fd) if opened is None else self._descriptor(opened)

    def os_fstat(self, fd):
        opened = self._open_files.get(fd)
        return self.real["fstat"](fd) if opened is None else opened.node.status()

    def os_isatty(self, fd):
        return fd not in self._open_files and self.real["isatty"](fd)

    def os_fsync(self, fd):
        if fd not in self._open_files:
            self.real["fsync"](fd)

    def os_fdatasync(self, fd):
        if fd not in self._open_files:
            self.real["fdatasync"](fd)

    def os_get_inheritable(self, fd):
        return fd not in self._open_files and self.real["get_inheritable"](fd)

    def os_set_inheritable(self, fd, inheritable):
        if fd not in self._open_files:
            self.real["set_inheritable"](fd, inheritable)

    def os_get_blocking(self, fd):
        return fd in self._open_files or self.real["get_blocking"](fd)

    def os_set_blocking(self, fd, blocking):
        if fd not in self._open_files:
            self.real["set_blocking"](fd, blocking)

    # Paths.

    def os_stat(self, path, *, dir_fd=None, follow_symlinks=True):
        node = self._node(path, dir_fd)
        if node is not None:
            return node.status()
        return self.real["stat"](path, dir_fd=dir_fd, follow_symlinks=follow_symlinks)

    def os_lstat(self, path, *, dir_fd=None):
        node = self._node(path, dir_fd)
        return self.real["lstat"](path, dir_fd=dir_fd) if node is None else node.status()

    def os_access(self, path, mode, *, dir_fd=None, effective_ids=False, follow_symlinks=True):
        node = self._node(path, dir_fd)
        if node is None:
            return self.real["access"](
                path, mode, dir_fd=dir_fd, effective_ids=effective_ids,
                follow_symlinks=follow_symlinks,
            )  # fmt: skip
        if mode & os.W_OK and not (isinstance(node, WritableFile) or node.mode & stat.S_IWUSR):
            return False
        return not mode & os.X_OK or bool(node.mode & 0o111)

    @ungranted.explained(is_changing=False)
    def os_listdir(self, path=None):
        path = "." if path is None else path
        node = self._node(path)
        if node is None:
            return self.real["listdir"](path)
        names = list(_folder(node, path).entries)
        is_bytes = isinstance(path, (bytes, bytearray)) or isinstance(
            path, os.PathLike
        ) and isinstance(os.fspath(path), bytes)
        return [os.fsencode(name) for name in names] if is_bytes else names

    @ungranted.explained(is_changing=False)
    def os_scandir(self, path=None):
        path = "." if path is None else path
        node = self._node(path)
        if node is None:
            return self.real["scandir"](path)
        folder = None if isinstance(path, int) else os.fspath(path)
        coded = os.fsencode if isinstance(folder, bytes) else str
        found = _folder(node, path).entries.items()
        return _Scan([_Entry(folder, coded(name), each) for name, each in found])

    @ungranted.explained(is_changing=True)
    def os_mkdir(self, path, mode=0o777, *, dir_fd=None):
        absolute = self._ours(path, dir_fd)
        if absolute is None:
            return self.real["mkdir"](path, mode, dir_fd=dir_fd)
        if self.files.find(absolute) is not None:
            raise failure(errno.EEXIST, path)
        self.files.make_folder(absolute)

    @ungranted.explained(is_changing=True)
    def os_unlink(self, path, *, dir_fd=None):
        absolute = self._ours(path, dir_fd)
        if absolute is None:
            return self.real["unlink"](path, dir_fd=dir_fd)
        self.files.unlink(absolute)

    os_remove = os_unlink

    @ungranted.explained(is_changing=True)
    def os_rmdir(self, path, *, dir_fd=None):
        absolute = self._ours(path, dir_fd)
        if absolute is None:
            return self.real["rmdir"](path, dir_fd=dir_fd)
        self.files.unlink(absolute, is_folder=True)

    @ungranted.explained(is_changing=True)
    def os_rename(self, src, dst, *, src_dir_fd=None, dst_dir_fd=None):
        old, new = self._ours(src, src_dir_fd), self._ours(dst, dst_dir_fd)
        if old is None and new is None:
            return self.real["rename"](src, dst, src_dir_fd=src_dir_fd, dst_dir_fd=dst_dir_fd)
        if old is None or new is None:
            raise OSError(errno.EXDEV, os.strerror(errno.EXDEV), src, None, dst)
        self.files.rename(old, new)

    os_replace = os_rename

    def os_truncate(self, path, length):
        if isinstance(path, int):
            return self.os_ftruncate(path, length)
        node = self._node(path)
        if node is None:
            return self.real["truncate"](path, length)
        if not isinstance(node, WritableFile):
            raise failure(errno.EROFS, path)
        node.resize(length)

    def os_utime(self, path, times=None, *, ns=None, dir_fd=None, follow_symlinks=True):
        node = self._node(path, dir_fd)
        if node is None:
            moments = {"ns": ns} if ns is not None else {"times": times}
            return self.real["utime"](
                path, **moments, dir_fd=dir_fd, follow_symlinks=follow_symlinks
            )
        self._writable(node, path)
        if ns is None:
            ns = None if times is None else [int(moment * 1e9) for moment in times]
        import time

        node.mtime_ns = time.time_ns() if ns is None else ns[1]

    def os_chmod(self, path, mode, *, dir_fd=None, follow_symlinks=True):
        node = self._node(path, dir_fd)
        if node is None:
            # The sandbox has no file permissions: WASI's call always fails.
            self.os_stat(path, dir_fd=dir_fd)
            return
        self._writable(node, path)
        node.mode = stat.S_IFMT(node.mode) | stat.S_IMODE(mode)

    def os_link(self, src, dst, *, src_dir_fd=None, dst_dir_fd=None, follow_symlinks=True):
        if self._ours(src, src_dir_fd) is None and self._ours(dst, dst_dir_fd) is None:
            return self.real["link"](src, dst)
        raise OSError(errno.ENOTSUP, os.strerror(errno.ENOTSUP), src, None, dst)

    def os_symlink(self, src, dst, target_is_directory=False, *, dir_fd=None):
        if self._ours(dst, dir_fd) is None:
            return self.real["symlink"](src, dst)
        raise OSError(errno.ENOTSUP, os.strerror(errno.ENOTSUP), src, None, dst)

    def os_readlink(self, path, *, dir_fd=None):
        if self._node(path, dir_fd) is not None:
            raise failure(errno.EINVAL, path)
        return self.real["readlink"](path, dir_fd=dir_fd)

    def os_chdir(self, path):
        node = self._node(path)
        if node is None:
            # The system doesn't know that the current folder is one of the tree's.
            self.real["chdir"](self._path(path) or path if self.cwd else path)
            self.cwd = None
            return
        _folder(node, path)
        self.cwd = self._path(path)

    def os_getcwd(self):
        return self.cwd or self.real["getcwd"]()

    def os_getcwdb(self):
        return os.fsencode(self.os_getcwd())

    #: The current folder, once it has been changed to one of the tree's.
    cwd: str | None = None

    def statvfs(self, path):
        """Implements `os.statvfs`, which the sandbox's Python lacks: the space that is left for
        writing."""
        self.os_stat(path)
        block, space = 4096, self.files.space
        total, free = space.bytes_max // block, (space.bytes_max - space.used) // block
        return os.statvfs_result((block, block, total, free, free, 0, 0, 0, 0, 255))

    # Shared helpers.

    def _path(self, path, dir_fd=None) -> str | None:
        """Returns a path in the tree's form: absolute, without dots. Returns none for a descriptor,
        and for a path relative to a system descriptor."""
        if isinstance(path, int):
            return None
        path = os.fsdecode(path)
        if "\0" in path:
            raise ValueError("embedded null byte")
        if not path:
            return None
        if path[0] != "/":
            if dir_fd is None:
                path = os.path.join(os.getcwd(), path)
            elif (opened := self._open_files.get(dir_fd)) is not None:
                path = os.path.join(opened.absolute, path)
            else:
                return None
        absolute = os.path.normpath(path)
        return absolute[1:] if absolute.startswith("//") else absolute

    def _node(self, path, dir_fd=None) -> Node | None:
        if isinstance(path, int):
            opened = self._open_files.get(path)
            return None if opened is None else opened.node
        absolute = self._path(path, dir_fd)
        return None if absolute is None else self.files.find(absolute)

    def _ours(self, path, dir_fd=None) -> str | None:
        """Returns the absolute path if the change or creation affects the tree."""
        absolute = self._path(path, dir_fd)
        if absolute is None:
            return None
        if self.files.find(absolute) is not None or self.files.is_writable(absolute):
            return absolute
        # In a folder of the application: the tree reports that it is read-only.
        parent = self.files.find(absolute.rpartition("/")[0] or "/")
        return absolute if not self.is_building and parent is not None else None

    def _writable(self, node: Node, path) -> None:
        if not isinstance(node, WritableFile) and not getattr(node, "is_writable", False):
            raise failure(errno.EROFS, path)

    def _opened(self, absolute: str, path, flags: int) -> OpenFile | None:
        """Returns an open file of the tree, or none if the system should handle the path."""
        node = self.files.find(absolute)
        if node is None:
            if flags & os.O_CREAT and self._ours(absolute):
                return OpenFile(self.files.create(absolute), flags, path, absolute)
            return self._read_now(path, flags) if self.is_building else None
        if flags & os.O_CREAT and flags & os.O_EXCL:
            raise failure(errno.EEXIST, path)
        writes = flags & (os.O_RDONLY | os.O_WRONLY | os.O_RDWR) != os.O_RDONLY
        if isinstance(node, Folder) and (writes or flags & os.O_CREAT):
            raise failure(errno.EISDIR, path)
        if writes and not isinstance(node, WritableFile):
            raise failure(errno.EROFS, path)
        if flags & getattr(os, "O_DIRECTORY", 0) and not isinstance(node, Folder):
            raise failure(errno.ENOTDIR, path)
        if flags & os.O_TRUNC and writes:
            node.resize(0)
        return OpenFile(node, flags, path, absolute)

    def _read_now(self, path, flags: int) -> OpenFile | None:
        """Opens a file of the build's system and reads it into memory, so that the handle remains
        usable later."""
        if flags & (os.O_RDONLY | os.O_WRONLY | os.O_RDWR) != os.O_RDONLY or flags & os.O_CREAT:
            return None
        try:
            status = self.real["stat"](path)
            if not stat.S_ISREG(status.st_mode) or status.st_size > _READ_AT_BUILD_BYTES_MAX:
                return None
            with self.real_open(path, "rb") as file:
                node = KeptFile(file.read(), status.st_ino, is_compressed=False)
        except OSError:
            return None
        node.mtime_ns = status.st_mtime_ns
        return OpenFile(node, flags, path, "")

    def _descriptor(self, opened: OpenFile) -> int:
        if len(self._open_files) >= _DESCRIPTORS_MAX:
            raise failure(errno.EMFILE, opened.path)
        number = FIRST_DESCRIPTOR
        while number in self._open_files:
            number += 1
        self._open_files[number] = opened
        return number

    def absolute(self, path) -> str:
        """Returns a path in the tree's form: absolute, without dots."""
        return self._path(path) or "/"

    def lookup(self, path: str) -> Node | None:
        """Returns the file or folder at an absolute path. During a build, includes the system's
        files."""
        node = self.files.find(path)
        if node is None and self.is_building:
            opened = self._read_now(path, os.O_RDONLY)
            node = opened.node if opened else None
        return node

    def opened(self, descriptor: int) -> OpenFile | None:
        """Returns the open file of a descriptor, if it is one of the tree's."""
        return self._open_files.get(descriptor)


def _folder(node: Node, path) -> Folder:
    if not isinstance(node, Folder):
        raise failure(errno.ENOTDIR, path)
    return node


def _replace_held(replaced: dict[int, object]) -> None:
    """Replaces functions that imported modules hold as default arguments or as class attributes."""
    for thing in gc.get_objects():
        if type(thing) is FunctionType and thing.__module__ not in (__name__, open_file.__name__):
            held = thing.__defaults__ or ()
            if any(id(value) in replaced for value in held):
                thing.__defaults__ = tuple(replaced.get(id(value), value) for value in held)
            for name, value in (thing.__kwdefaults__ or {}).items():
                if id(value) in replaced:
                    thing.__kwdefaults__[name] = replaced[id(value)]
        elif isinstance(thing, type) and thing.__module__ not in (__name__, open_file.__name__):
            for name, value in list(vars(thing).items()):
                value = value.__func__ if isinstance(value, staticmethod) else value
                if id(value) in replaced:
                    with contextlib.suppress(TypeError):
                        setattr(thing, name, staticmethod(replaced[id(value)]))
