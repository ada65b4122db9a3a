"""Notes on exceptions that a grant in the server's `wasgi.toml` would prevent (PEP 678). A traceback
ends with its exception's notes, whoever prints it: the server, or a framework that has caught the
exception.

An application that can't be imported is explained by `wasgi.guest.explain`.
"""

from __future__ import annotations

import errno
import functools
import os

from wasgi.guest import phase

#: The line of `wasgi.toml` that begins the handler's table, unless the server says which one it is.
_UNKNOWN_TABLE = "[handlers.NAME]"

#: The folder at which the example of a grant puts a folder for a relative path.
_EXAMPLE_FOLDER = "/data"

_table = _UNKNOWN_TABLE


def begin(table: str | None) -> None:
    """Sets the line of `wasgi.toml` that begins the handler's table, if it is known."""
    global _table
    _table = table or _UNKNOWN_TABLE


def install() -> None:
    """Has `os.environ[name]` note how to grant the variable."""
    get = os._Environ.__getitem__
    if getattr(get, "is_noted", False):
        return

    def getitem(self, name):
        try:
            return get(self, name)
        except KeyError as error:
            note_variable(error, name)
            raise

    getitem.is_noted = True
    os._Environ.__getitem__ = getitem


def explained(is_changing: bool | None):
    """Returns a decorator for the methods of a `wasgi.guest.system.System` whose first argument is
    a path: their errors note which grant is missing. `is_changing` says whether the method changes
    the path's folder; None for a method whose second argument is the flags of `open`."""

    def decorate(method):
        @functools.wraps(method)
        def call(self, *arguments, **keywords):
            try:
                return method(self, *arguments, **keywords)
            except OSError as error:
                if arguments:
                    changes = is_changing
                    if changes is None:
                        changes = len(arguments) > 1 and _is_changing(arguments[1])
                    explain(self, error, arguments[0], changes)
                raise

        return call

    return decorate


def _is_changing(flags: int) -> bool:
    """Returns whether flags of `open` are for changing a file or creating one."""
    access = flags & (os.O_RDONLY | os.O_WRONLY | os.O_RDWR)
    return access != os.O_RDONLY or bool(flags & os.O_CREAT)


def explain(system, error: Exception, path: object, is_changing: bool) -> None:
    """Notes on an exception of a `wasgi.guest.system.System` which grant of a folder is missing, if
    one is. `is_changing` says whether the folder was to be changed."""
    number = getattr(error, "errno", errno.ENOENT)
    is_path = isinstance(path, (str, bytes, os.PathLike))
    if phase.is_loading or not is_path or number not in (errno.ENOENT, errno.EROFS):
        return
    try:
        path = system.absolute(path)
        if number == errno.EROFS:
            what = f"the handler can't change the folder of {path}"
            _note_folder(error, what, _EXAMPLE_FOLDER, True)
        elif not _is_in_a_folder(system, path):
            folder = path.rpartition("/")[0] or path
            _note_folder(error, f"the handler has no folder for {path}", folder, is_changing)
    except (OSError, ValueError):
        # The path is invalid, and the exception says so.
        pass


def note_variable(error: Exception, name: object) -> None:
    """Notes on an exception how to grant a variable."""
    if phase.is_loading or not isinstance(name, (str, bytes)):
        return
    name = os.fsdecode(name)
    error.add_note(
        f"the handler has no variable {name}; to grant it, add to wasgi.toml: {_table} "
        f'environment = {{ {name} = "value" }}'
    )


def _is_in_a_folder(system, path: str) -> bool:
    """Returns whether a folder above a path exists, except the root, which always does."""
    while path := path.rpartition("/")[0]:
        try:
            system.os_stat(path)
            return True
        except OSError:
            pass
    return False


def _note_folder(error: Exception, what: str, destination: str, is_changed: bool) -> None:
    writable = ", writable = true" if is_changed else ""
    error.add_note(
        f"{what}; to grant one, add to wasgi.toml: {_table} files = "
        f'[{{ source = "data", destination = "{destination}"{writable} }}]'
    )
