"""SQLite databases in files. SQLite opens files directly. A file of the handler's own tree is read
into an in-memory database that all connections of the instance share: an instance's changes last
until it ends, and the file keeps its contents from the build. So is a file in a folder that may
only be read, such as a script's own.

A file in a granted folder that may be changed is opened by SQLite itself, without its locks, which
the sandbox lacks. The server lets one request at a time use such a folder.
"""

from __future__ import annotations

import os
import urllib.parse

from wasgi.guest import late, ungranted
from wasgi.guest.files import Folder, KeptFile, WritableFile

#: The header's field for the format, and its value for a rollback journal: a write-ahead log would
#: need additional files.
_FORMAT, _ROLLBACK = slice(18, 20), b"\1\1"

#: The maximum length of a pattern of `LIKE` and `GLOB`, in bytes. SQLite recurses at each wildcard,
#: which may be every second byte, and has no guard but this limit, 50,000 by default. The engine's
#: stack of 2 MiB has room for some 10,000 wildcards.
_PATTERN_BYTES_MAX = 10_000


def install(system) -> None:
    """Makes `sqlite3.connect` use the tree of a `wasgi.guest.system.System`, and `dbm` use files."""
    late.change({"sqlite3.dbapi2": lambda module: _change(module, system), "dbm": _change_dbm})


def _change(sqlite, system) -> None:
    real = sqlite.connect

    def limited(*arguments, **keywords):
        connection = real(*arguments, **keywords)
        # Python has the function since 3.11. The sandbox has that, and tests elsewhere may not.
        if hasattr(connection, "setlimit"):
            connection.setlimit(sqlite.SQLITE_LIMIT_LIKE_PATTERN_LENGTH, _PATTERN_BYTES_MAX)
        return connection

    databases = _Databases(limited, system)

    def connect(database, *arguments, **keywords):
        """Replaces `sqlite3.connect`."""
        path = _path(database, keywords.get("uri", False))
        if path is None:
            return databases.connect(database, *arguments, **keywords)
        name = databases.name(system.absolute(path))
        if name is None:
            try:
                return databases.connect(database, *arguments, **keywords)
            except sqlite.OperationalError as error:
                ungranted.explain(system, error, path, is_changing=True)
                raise
        return databases.connect(name, *arguments, **(keywords | {"uri": True}))

    sqlite.connect = connect


def _change_dbm(dbm) -> None:
    """Makes `dbm` and `shelve` use plain files: an SQLite database isn't a file of the tree, so it
    would not be found again."""
    dbm._names = ["dbm.dumb"]


def _path(database, is_uri: bool) -> str | None:
    """Returns the requested file, or none if the name isn't that of a file."""
    try:
        path = os.fsdecode(database)
    except TypeError:
        return None
    if is_uri and path.startswith("file:"):
        parts = urllib.parse.urlsplit(path)
        options = dict(urllib.parse.parse_qsl(parts.query))
        if options.get("mode") == "memory" or "vfs" in options:
            return None
        path = urllib.parse.unquote(parts.path)
    return None if path in ("", ":memory:") else path


class _Databases:
    """The opened databases, each with a connection that keeps it alive."""

    def __init__(self, connect, system) -> None:
        self.connect = connect
        self._system = system
        self._keepers: dict[str, object] = {}

    def name(self, path: str) -> str | None:
        """Returns SQLite's name for the database of a file, which is read on first use. Returns
        none if there can't be such a file."""
        name = f"file:{urllib.parse.quote(path)}?vfs=memdb"
        if path not in self._keepers:
            node = self._system.lookup(path)
            if node is None and self._is_granted(path):
                return f"file:{urllib.parse.quote(path)}?vfs=unix-none"
            if isinstance(node, (KeptFile, WritableFile)):
                content = node.content()
            else:
                content = self._system_content(path) if node is None else b""
            if node is None and not self._can_be_made(path) or isinstance(node, Folder):
                return None
            keeper = self.connect(name, uri=True)
            if content:
                self._load(content, keeper)
            self._keepers[path] = keeper
        return name

    def _is_granted(self, path: str) -> bool:
        """Returns whether the file is in a folder outside of the tree that may be changed. Creates
        it there, as SQLite does."""
        if self._system.is_building:
            return False
        try:
            descriptor = self._system.real["open"](path, os.O_RDWR | os.O_CREAT, 0o666)
        except OSError:
            return False
        self._system.real["close"](descriptor)
        return True

    def _system_content(self, path: str) -> bytes:
        """Returns the contents of a file outside of the tree, such as one in a script's folder.
        Empty if there is none."""
        try:
            with self._system.real_open(path, "rb") as file:
                return file.read()
        except OSError:
            return b""

    def _can_be_made(self, path: str) -> bool:
        return os.path.isdir(path.rpartition("/")[0] or "/")

    def _load(self, content: bytes, keeper) -> None:
        changed = bytearray(content)
        changed[_FORMAT] = _ROLLBACK
        source = self.connect(":memory:")
        try:
            source.deserialize(bytes(changed))
            source.backup(keeper)
        finally:
            source.close()
