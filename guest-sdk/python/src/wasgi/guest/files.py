"""The handler's file system, in memory: the application's files as of the build, which are
read-only, and an empty `/tmp` and home folder, which are writable.

It is a tree of folders and files by absolute path. `wasgi.guest.system` makes Python's functions
use it.
"""

from __future__ import annotations

import errno
import os
import stat
import time
import zlib

#: The size from which files are compressed, in bytes: smaller ones would save little.
_COMPRESS_FROM_BYTES = 512

#: The size of the pieces that store written data, in bytes: a growing file is not copied.
PIECE_BYTES = 64 * 1024

#: The maximum size of all files in writable folders, in bytes. They are in the handler's memory,
#: whose budget is almost always smaller; if an upload doesn't fit, the server names the budget.
WRITABLE_BYTES_MAX = 1 << 30

#: The maximum number of entries in writable folders: each takes some hundred bytes of memory.
_WRITABLE_ENTRIES_MAX = 20_000

#: The maximum length of a file's name and of a path, in characters, as on Linux.
_NAME_LENGTH_MAX, _PATH_LENGTH_MAX = 255, 4_096


def failure(number: int, path: object = None) -> OSError:
    """Returns the exception of a system call."""
    return OSError(number, os.strerror(number), path) if path is not None else OSError(
        number, os.strerror(number)
    )


class Node:
    """A file or a folder."""

    def __init__(self, mode: int, number: int) -> None:
        self.mode = mode
        self.number = number
        self.mtime_ns = 0
        self.links = 1

    def size(self) -> int:
        return 0

    def status(self) -> os.stat_result:
        """Returns the result of `os.stat`."""
        seconds, rest_ns = divmod(self.mtime_ns, 1_000_000_000)
        # Rounded as `os.stat` rounds it: programs compare the time of a file with the one that they
        # read during the build, and reload what differs.
        moment = seconds + 1e-9 * rest_ns
        times = (seconds, seconds, seconds)
        whole = (self.mode, self.number, 1, self.links, 0, 0, self.size(), *times)
        extra = {f"st_{name}": moment for name in ("atime", "mtime", "ctime")}
        extra |= {f"st_{name}_ns": self.mtime_ns for name in ("atime", "mtime", "ctime")}
        extra |= {"st_blksize": PIECE_BYTES, "st_blocks": (self.size() + 511) // 512, "st_rdev": 0}
        return os.stat_result(whole, extra)


class Folder(Node):
    def __init__(self, number: int, is_writable: bool = False) -> None:
        super().__init__(stat.S_IFDIR | (0o755 if is_writable else 0o555), number)
        self.entries: dict[str, Node] = {}
        self.is_writable = is_writable


class KeptFile(Node):
    """A file of the application, compressed if that saves space."""

    def __init__(self, content: bytes, number: int, is_compressed: bool = True) -> None:
        super().__init__(stat.S_IFREG | 0o444, number)
        is_compressed = is_compressed and len(content) >= _COMPRESS_FROM_BYTES
        small = zlib.compress(content) if is_compressed else content
        self._is_small = len(small) < len(content)
        self._content = small if self._is_small else content
        self._size = len(content)

    def size(self) -> int:
        return self._size

    def kept_bytes(self) -> int:
        """Returns the memory that it occupies."""
        return len(self._content)

    def content(self) -> bytes:
        return zlib.decompress(self._content) if self._is_small else self._content


class WritableFile(Node):
    """A file in pieces, which all have the same size except the last."""

    def __init__(self, number: int, space: "Space") -> None:
        super().__init__(stat.S_IFREG | 0o600, number)
        self._pieces: list[bytearray] = []
        self._size = 0
        self._space = space
        self.mtime_ns = time.time_ns()

    def __del__(self) -> None:
        self._space.used -= self._size

    def size(self) -> int:
        return self._size

    def content(self) -> bytes:
        return b"".join(self._pieces)

    def read(self, position: int, size: int) -> bytes:
        if size <= 0 or position >= self._size:
            return b""
        first, last = position // PIECE_BYTES, (min(position + size, self._size) - 1) // PIECE_BYTES
        start = position - first * PIECE_BYTES
        if first == last:
            return bytes(self._pieces[first][start : start + size])
        found = b"".join(self._pieces[first : last + 1])
        return found[start : start + size]

    def write(self, position: int, block) -> int:
        """Writes bytes, and zeros before them if the file is shorter.

        Raises:
            OSError: ENOSPC if there is not enough space.
        """
        block = memoryview(block).cast("B")
        end = position + len(block)
        self.resize(max(end, self._size))
        at = position
        while at < end:
            number, start = divmod(at, PIECE_BYTES)
            length = min(PIECE_BYTES - start, end - at)
            done = at - position
            self._pieces[number][start : start + length] = block[done : done + length]
            at += length
        self.mtime_ns = time.time_ns()
        return len(block)

    def resize(self, size: int) -> None:
        """Truncates the file, or extends it with zeros."""
        self._space.take(size - self._size)
        try:
            whole, rest = divmod(size, PIECE_BYTES)
            del self._pieces[whole + (rest > 0) :]
            for number in range(max(0, self._size // PIECE_BYTES), whole + (rest > 0)):
                length = PIECE_BYTES if number < whole else rest
                if number == len(self._pieces):
                    self._pieces.append(bytearray(length))
                    continue
                piece = self._pieces[number]
                if len(piece) < length:
                    piece.extend(bytes(length - len(piece)))
                else:
                    del piece[length:]
            if size < self._size and rest:
                del self._pieces[whole][rest:]
        except MemoryError:
            self._space.used -= size - self._size
            whole, rest = divmod(self._size, PIECE_BYTES)
            del self._pieces[whole + (rest > 0) :]
            if rest:
                del self._pieces[whole][rest:]
            raise failure(errno.ENOSPC) from None
        self._size = size


class Space:
    """The space that is left for written files."""

    def __init__(self, bytes_max: int = WRITABLE_BYTES_MAX) -> None:
        self.bytes_max = bytes_max
        self.used = 0

    def take(self, size: int) -> None:
        """Reserves or releases space.

        Raises:
            OSError: ENOSPC if there is not enough.
        """
        if self.used + size > self.bytes_max:
            raise failure(errno.ENOSPC)
        self.used += size


class Files:
    """The tree."""

    def __init__(self, writable: tuple[str, ...] = ()) -> None:
        self.space = Space()
        self._numbers = 1
        self._entries = 0
        self.root = Folder(self._numbers)
        #: The memory that the application's files occupy, compressed.
        self.size_bytes = 0
        for path in writable:
            self._folder(path, is_writable=True).is_writable = True

    # Storing files, at the build.

    def add(self, path: str, content: bytes, status: os.stat_result) -> None:
        """Stores a file."""
        folder, _, name = path.rpartition("/")
        node = KeptFile(content, self._number())
        node.mtime_ns = status.st_mtime_ns
        node.mode = stat.S_IFREG | (status.st_mode & 0o555 or 0o444)
        self._folder(folder).entries[name] = node
        self.size_bytes += node.kept_bytes()

    def add_folder(self, path: str, status: os.stat_result) -> None:
        """Stores a folder, whose files may be added before or after it."""
        self._folder(path).mtime_ns = status.st_mtime_ns

    def names(self, path: str) -> list[str] | None:
        """Returns the names in a folder, or none if there is no such folder."""
        node = self.find(path)
        return list(node.entries) if isinstance(node, Folder) else None

    # System calls.

    def find(self, path: str) -> Node | None:
        """Returns the node at an absolute path without dots, or none."""
        node = self.root
        for name in path.split("/"):
            if name:
                if not isinstance(node, Folder):
                    return None
                node = node.entries.get(name)
                if node is None:
                    return None
        return node

    def is_writable(self, path: str) -> bool:
        """Returns whether entries can be created at this path, which means that it is in a writable
        folder."""
        parent = self.find(path.rpartition("/")[0] or "/")
        return isinstance(parent, Folder) and parent.is_writable

    def parent(self, path: str) -> tuple[Folder, str]:
        """Returns the folder of an entry that will be changed, and the entry's name.

        Raises:
            OSError: if there is no such folder, or it is read-only.
        """
        above, _, name = path.rpartition("/")
        if len(name) > _NAME_LENGTH_MAX or len(path) > _PATH_LENGTH_MAX:
            raise failure(errno.ENAMETOOLONG, path)
        folder = self.find(above or "/")
        if folder is None:
            raise failure(errno.ENOENT, path)
        if not isinstance(folder, Folder):
            raise failure(errno.ENOTDIR, path)
        if not folder.is_writable or not name:
            raise failure(errno.EROFS, path)
        return folder, name

    def create(self, path: str) -> WritableFile:
        """Creates an empty file, and replaces an existing one."""
        folder, name = self.parent(path)
        self._take_entry(path)
        node = WritableFile(self._number(), self.space)
        folder.entries[name] = node
        return node

    def make_folder(self, path: str) -> None:
        folder, name = self.parent(path)
        if name in folder.entries:
            raise failure(errno.EEXIST, path)
        self._take_entry(path)
        node = Folder(self._number(), is_writable=True)
        node.mtime_ns = time.time_ns()
        folder.entries[name] = node

    def unlink(self, path: str, is_folder: bool = False) -> None:
        """Removes a file, or an empty folder."""
        folder, name = self.parent(path)
        node = folder.entries.get(name)
        if node is None:
            raise failure(errno.ENOENT, path)
        if isinstance(node, Folder) != is_folder:
            raise failure(errno.ENOTDIR if is_folder else errno.EISDIR, path)
        if is_folder and node.entries:
            raise failure(errno.ENOTEMPTY, path)
        del folder.entries[name]
        node.links -= 1
        self._entries -= 1

    def rename(self, old: str, new: str) -> None:
        source, name = self.parent(old)
        target, new_name = self.parent(new)
        node = source.entries.get(name)
        if node is None:
            raise failure(errno.ENOENT, old)
        if isinstance(node, Folder) and f"{new}/".startswith(f"{old}/") and old != new:
            raise failure(errno.EINVAL, new)
        there = target.entries.get(new_name)
        if there is node:
            return
        if there is not None:
            self.unlink(new, is_folder=isinstance(node, Folder))
        del source.entries[name]
        target.entries[new_name] = node

    def _folder(self, path: str, is_writable: bool = False) -> Folder:
        node = self.root
        for name in path.split("/"):
            if name:
                there = node.entries.get(name)
                if not isinstance(there, Folder):
                    there = node.entries[name] = Folder(self._number(), is_writable)
                node = there
        return node

    def _take_entry(self, path: str) -> None:
        if self._entries >= _WRITABLE_ENTRIES_MAX:
            raise failure(errno.ENOSPC, path)
        self._entries += 1

    def _number(self) -> int:
        self._numbers += 1
        return self._numbers
