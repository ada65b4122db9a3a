"""Gives an interpreter what a handler finds, however it came to be in its sandbox."""

from __future__ import annotations

from wasgi.guest import compat, database, event_loop, hashes, tls
from wasgi.guest.files import Files
from wasgi.guest.system import System


def install(own_folders: tuple[str, ...] = ()) -> System:
    """Puts files, an event loop, databases, and what the sandbox's CPython lacks where Python
    programs look for them. To be called once, before the application is imported.

    The `System` that it returns looks for files in its own tree, which has a writable temporary
    folder and home folder and whatever is added to it, and then in WASI's folders. `own_folders` are
    the application's: a module there that imports `ssl` is told that there is none.
    """
    system = System(Files(writable=(compat.TEMPORARY, compat.HOME)))
    system.install()
    compat.install(system)
    hashes.install()
    event_loop.install()
    database.install(system)
    tls.install(own_folders)
    return system
