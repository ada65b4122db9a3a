"""Sets up the interpreter's environment for a handler, both for a build and for scripts."""

from __future__ import annotations

from wasgi.guest import compat, database, event_loop, hashes, tls, ungranted
from wasgi.guest.files import Files
from wasgi.guest.system import System


def install() -> System:
    """Installs files, an event loop, databases, and features that the sandbox's CPython lacks. Must
    be called once, before the application is imported.

    The `System` that it returns searches for files in its own tree, which has a writable temporary
    folder and home folder and everything that is added to it, and then in WASI's folders.
    """
    system = System(Files(writable=(compat.TEMPORARY, compat.HOME)))
    system.install()
    compat.install(system)
    hashes.install()
    event_loop.install()
    database.install(system)
    tls.install()
    ungranted.install()
    return system
