"""Features that frameworks expect of CPython, and that the sandbox's build lacks."""

from __future__ import annotations

import importlib.util
import os
import sys
import types

#: A handler's user and group, and its writable folders.
USER_NAME, USER_ID = "handler", 1000
HOME, TEMPORARY = "/home/handler", "/tmp"


def install(system) -> None:
    """Adds the features. Must be called before the application is imported.

    `system` provides `statvfs`: `wasgi.guest.system.System`.
    """
    import posix

    set_arguments()
    for name, function in _functions(system).items():
        if not hasattr(os, name):
            setattr(os, name, function)
            setattr(posix, name, function)
    if not hasattr(os, "statvfs_result"):
        os.statvfs_result = posix.statvfs_result
    for name, make in _MODULES.items():
        if name not in sys.modules and importlib.util.find_spec(name) is None:
            sys.modules[name] = make()
    shutil = sys.modules.get("shutil")
    if shutil is not None and not hasattr(shutil, "disk_usage"):
        _add_disk_usage(shutil)


def set_arguments() -> None:
    """Gives the program its name, if it has no arguments at all: empty, as of one that is no file.
    `argparse` and `runpy` look at it without asking whether it is there."""
    if not sys.argv:
        sys.argv.append("")


def _functions(system) -> dict[str, object]:
    mask = [0o022]

    def umask(new: int) -> int:
        old, mask[0] = mask[0], new & 0o777
        return old

    return {
        "umask": umask,
        "statvfs": system.statvfs,
        "fstatvfs": system.statvfs,
        "getuid": lambda: USER_ID,
        "geteuid": lambda: USER_ID,
        "getgid": lambda: USER_ID,
        "getegid": lambda: USER_ID,
        "getgroups": lambda: [USER_ID],
        "getppid": lambda: 1,
        "getpgrp": os.getpid,
        "getlogin": lambda: USER_NAME,
        "getloadavg": lambda: (0.0, 0.0, 0.0),
        "chown": lambda *_, **__: None,
    }


def _passwords() -> types.ModuleType:
    """Returns the module `pwd`, with one user."""
    import collections

    module = types.ModuleType("pwd", "The user of the sandbox.")
    fields = "pw_name pw_passwd pw_uid pw_gid pw_gecos pw_dir pw_shell"
    module.struct_passwd = collections.namedtuple("struct_passwd", fields)
    user = module.struct_passwd(USER_NAME, "x", USER_ID, USER_ID, "", HOME, "")

    module.getpwuid = _finder("getpwuid", "uid", USER_ID, user)
    module.getpwnam = _finder("getpwnam", "name", USER_NAME, user)
    module.getpwall = lambda: [user]
    return module


def _groups() -> types.ModuleType:
    """Returns the module `grp`, with one group."""
    import collections

    module = types.ModuleType("grp", "The group of the sandbox.")
    module.struct_group = collections.namedtuple("struct_group", "gr_name gr_passwd gr_gid gr_mem")
    group = module.struct_group(USER_NAME, "x", USER_ID, [])

    module.getgrgid = _finder("getgrgid", "gid", USER_ID, group)
    module.getgrnam = _finder("getgrnam", "name", USER_NAME, group)
    module.getgrall = lambda: [group]
    return module


def _finder(function: str, key: str, value: object, entry: object):
    """Returns a function that finds the only entry by this value of a key."""

    def find(wanted):
        if wanted != value:
            raise KeyError(f"{function}(): {key} not found: {wanted!r}")
        return entry

    find.__name__ = function
    return find


def _processes() -> types.ModuleType:
    """Returns the compiled part of `multiprocessing`, which servers import for type names."""
    module = types.ModuleType("_multiprocessing", "The sandbox has no processes.")

    class SemLock:
        SEM_VALUE_MAX = (1 << 31) - 1

        def __init__(self, *_, **__) -> None:
            raise NotImplementedError("the sandbox has no processes")

    def sem_unlink(name):
        raise FileNotFoundError(name)

    module.SemLock, module.sem_unlink, module.flags = SemLock, sem_unlink, {}
    return module


_MODULES = {"pwd": _passwords, "grp": _groups, "_multiprocessing": _processes}


def _add_disk_usage(shutil) -> None:
    """Adds `shutil.disk_usage`, if `shutil` was imported before `os.statvfs` existed."""
    import collections

    usage = collections.namedtuple("usage", "total used free")

    def disk_usage(path):
        status = os.statvfs(path)
        total, free = status.f_blocks * status.f_frsize, status.f_bavail * status.f_frsize
        return usage(total, total - free, free)

    shutil.disk_usage = disk_usage
