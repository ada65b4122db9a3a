"""Open files of the handler's tree: the state of a descriptor, and an `io.FileIO` for it."""

from __future__ import annotations

import errno
import io
import os

from wasgi.guest.files import Folder, KeptFile, Node, WritableFile, failure

_FileIO = io.FileIO


class OpenFile:
    """The state of a descriptor."""

    def __init__(self, node: Node, flags: int, path: str, absolute: str) -> None:
        access = flags & (os.O_RDONLY | os.O_WRONLY | os.O_RDWR)
        self.node = node
        #: The path as it was given, for exceptions, and the path in the tree.
        self.path, self.absolute = path, absolute
        self.position = 0
        self.can_write = access in (os.O_WRONLY, os.O_RDWR)
        self.can_read = access in (os.O_RDONLY, os.O_RDWR)
        self.appends = bool(flags & os.O_APPEND)
        self._content = node.content() if isinstance(node, KeptFile) else None

    def read(self, size: int) -> bytes:
        block = self.read_at(self.position, size)
        self.position += len(block)
        return block

    def read_at(self, position: int, size: int) -> bytes:
        if isinstance(self.node, Folder):
            raise failure(errno.EISDIR, self.path)
        if not self.can_read:
            raise failure(errno.EBADF)
        if self._content is not None:
            return self._content[position : position + size]
        return self.node.read(position, size)

    def write(self, block) -> int:
        if self.appends:
            self.position = self.node.size()
        written = self.write_at(self.position, block)
        self.position += written
        return written

    def write_at(self, position: int, block) -> int:
        if not self.can_write or not isinstance(self.node, WritableFile):
            raise failure(errno.EBADF)
        return self.node.write(position, block)

    def seek(self, offset: int, whence: int) -> int:
        base = {os.SEEK_SET: 0, os.SEEK_CUR: self.position, os.SEEK_END: self.node.size()}
        if whence not in base or base[whence] + offset < 0:
            raise failure(errno.EINVAL)
        self.position = base[whence] + offset
        return self.position

    def truncate(self, size: int) -> None:
        if not self.can_write or not isinstance(self.node, WritableFile):
            raise failure(errno.EBADF)
        if size < 0:
            raise failure(errno.EINVAL)
        self.node.resize(size)


#: The state of a closed file.
_CLOSED = OpenFile(Node(0, 0), os.O_RDONLY, "", "")


def file_class(system) -> type:
    """Returns a class `io.FileIO` for the system's descriptors and for those of a
    `wasgi.guest.system.System`."""

    class FileIO(_FileIO):
        _opened: OpenFile | None = None
        _number = -1
        _closes = True

        def __init__(self, file, mode="r", closefd=True, opener=None) -> None:
            kind, _ = parsed_mode(mode)
            flags = _flags(kind)
            if isinstance(file, int) and not isinstance(file, bool):
                number = file
                if number < 0:
                    raise ValueError("negative file descriptor")
            else:
                if not closefd:
                    raise ValueError("Cannot use closefd=False with file name")
                number = opener(file, flags) if opener else os.open(file, flags, 0o666)
                if not isinstance(number, int):
                    raise TypeError("expected integer from opener")
            opened = system.opened(number)
            if opened is None:
                super().__init__(number, mode, closefd)
                self.name = file
                return
            if isinstance(opened.node, Folder):
                if not isinstance(file, int):
                    system.os_close(number)
                raise failure(errno.EISDIR, file)
            self.name = file
            self._opened, self._number, self._closes = opened, number, closefd
            self._kind = kind
            if kind[0] == "a":
                opened.position = opened.node.size()

        @property
        def closed(self) -> bool:
            return _FileIO.closed.__get__(self) if self._opened is None else self._number < 0

        @property
        def mode(self) -> str:
            if self._opened is None:
                return _FileIO.mode.__get__(self)
            return self._kind[0] + "b" + self._kind[1:]

        @property
        def closefd(self) -> bool:
            return _FileIO.closefd.__get__(self) if self._opened is None else self._closes

        def _checked(self) -> OpenFile:
            if self._number < 0:
                raise ValueError("I/O operation on closed file")
            return self._opened

        def close(self) -> None:
            if self._opened is None:
                return super().close()
            if self._number >= 0:
                number, self._number = self._number, -1
                # Releases the file's memory even if the closed object is kept.
                self._opened = _CLOSED
                if self._closes:
                    system.os_close(number)

        def fileno(self) -> int:
            if self._opened is None:
                return super().fileno()
            self._checked()
            return self._number

        def readable(self) -> bool:
            if self._opened is None:
                return super().readable()
            self._checked()
            return self._kind[0] == "r" or "+" in self._kind

        def writable(self) -> bool:
            if self._opened is None:
                return super().writable()
            self._checked()
            return self._kind[0] != "r" or "+" in self._kind

        def seekable(self) -> bool:
            if self._opened is None:
                return super().seekable()
            self._checked()
            return True

        def isatty(self) -> bool:
            return super().isatty() if self._opened is None else not self._checked()

        def read(self, size=-1, /):
            if self._opened is None:
                return super().read(size)
            if size is None or size < 0:
                return self.readall()
            self._can(self.readable(), "reading")
            return self._opened.read(size)

        def readall(self):
            if self._opened is None:
                return super().readall()
            self._can(self.readable(), "reading")
            return self._opened.read(max(0, self._opened.node.size() - self._opened.position))

        def readinto(self, buffer, /):
            if self._opened is None:
                return super().readinto(buffer)
            self._can(self.readable(), "reading")
            return system.os_readinto(self._number, buffer)

        def write(self, block, /):
            if self._opened is None:
                return super().write(block)
            self._can(self.writable(), "writing")
            return self._opened.write(block)

        def seek(self, offset, whence=0, /):
            if self._opened is None:
                return super().seek(offset, whence)
            return self._checked().seek(offset, whence)

        def tell(self):
            return super().tell() if self._opened is None else self._checked().position

        def truncate(self, size=None, /):
            if self._opened is None:
                return super().truncate(size)
            self._can(self.writable(), "writing")
            size = self._opened.position if size is None else size
            self._opened.truncate(size)
            return size

        def _can(self, does: bool, what: str) -> None:
            if not does:
                raise io.UnsupportedOperation(f"File not open for {what}")

        def __repr__(self) -> str:
            if self._opened is None:
                return super().__repr__()
            if self._number < 0:
                return "<_io.FileIO [closed]>"
            return f"<_io.FileIO name={self.name!r} mode={self.mode!r} closefd={self._closes}>"

    FileIO.__module__ = "_io"
    FileIO.__qualname__ = "FileIO"
    return FileIO


def parsed_mode(mode: str) -> tuple[str, bool]:
    """Parses the mode of `open` to `r`, `w`, `x` or `a` with or without `+`, and whether the file
    is binary."""
    if not isinstance(mode, str):
        raise TypeError(f"invalid mode: {mode!r}")
    wanted = set(mode)
    if wanted - set("axrwb+t") or len(mode) > len(wanted):
        raise ValueError(f"invalid mode: {mode!r}")
    kinds = [kind for kind in "xrwa" if kind in wanted]
    if {"t", "b"} <= wanted:
        raise ValueError("can't have text and binary mode at once")
    if len(kinds) != 1:
        raise ValueError("must have exactly one of create/read/write/append mode")
    return kinds[0] + ("+" if "+" in wanted else ""), "b" in wanted


def _flags(kind: str) -> int:
    access = os.O_RDWR if "+" in kind else os.O_RDONLY if kind[0] == "r" else os.O_WRONLY
    more = {"r": 0, "w": os.O_CREAT | os.O_TRUNC, "x": os.O_CREAT | os.O_EXCL,
            "a": os.O_CREAT | os.O_APPEND}  # fmt: skip
    return access | more[kind[0]] | getattr(os, "O_CLOEXEC", 0)
