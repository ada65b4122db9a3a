"""SQLite databases in files. SQLite opens files by itself, and finds none in a handler: so a file is
read into a database in memory, which all connections of the instance share.

What an instance writes is there until it ends, and the file is as it was built.
"""

from __future__ import annotations

import os
import urllib.parse

from wasgi.guest import late
from wasgi.guest.files import Folder, KeptFile, WritableFile

#: Where a database's header says how it is written and read, and what stands there for a journal
#: that is rolled back: a write-ahead log needs files beside it.
_FORMAT, _ROLLBACK = slice(18, 20), b"\1\1"


def install(system) -> None:
    """Has `sqlite3.connect` look into the tree of a `wasgi.guest.system.System`."""
    late.change({"sqlite3.dbapi2": lambda module: _change(module, system), "dbm": _change_dbm})


def _change(sqlite, system) -> None:
    databases = _Databases(sqlite.connect, system)

    def connect(database, *arguments, **keywords):
        """`sqlite3.connect`."""
        path = _path(database, keywords.get("uri", False))
        if path is None:
            return databases.connect(database, *arguments, **keywords)
        name = databases.name(system.absolute(path))
        if name is None:
            return databases.connect(database, *arguments, **keywords)
        return databases.connect(name, *arguments, **(keywords | {"uri": True}))

    sqlite.connect = connect


def _change_dbm(dbm) -> None:
    """Has `dbm` and `shelve` write files: a database of SQLite's is none, and not found again."""
    dbm._names = ["dbm.dumb"]


def _path(database, is_uri: bool) -> str | None:
    """The file that is asked for, or none where it is no file's name."""
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
    """The databases that were opened, each with a connection that keeps it alive."""

    def __init__(self, connect, system) -> None:
        self.connect = connect
        self._system = system
        self._keepers: dict[str, object] = {}

    def name(self, path: str) -> str | None:
        """How SQLite knows the database of a file, which is read now if this is the first time. None
        where there can be no such file."""
        name = f"file:{urllib.parse.quote(path)}?vfs=memdb"
        if path not in self._keepers:
            node = self._system.lookup(path)
            content = node.content() if isinstance(node, (KeptFile, WritableFile)) else b""
            if node is None and not self._can_be_made(path) or isinstance(node, Folder):
                return None
            keeper = self.connect(name, uri=True)
            if content:
                self._load(content, keeper)
            self._keepers[path] = keeper
        return name

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
