"""The module `ssl`, for installed packages that import it without needing it, such as for servers
and clients that a handler can't use, since it has no sockets. Its names exist, but using one raises
an error.

For the standard library and the application's own modules, the module doesn't exist, as in the
sandbox.
"""

from __future__ import annotations

import importlib.machinery
import importlib.util
import os
import sys
import types

#: Files of the import system, whose frames are between the importing module and the finder.
_IMPORTS = ("<frozen importlib", "importlib/__init__.py")


def install(own_folders: tuple[str, ...]) -> None:
    """Provides the module to installed packages, if the interpreter has none."""
    if importlib.util.find_spec("_ssl") is None:
        sys.meta_path.insert(0, _Finder(own_folders))


class _Finder:
    """Provides the module only to installed packages, identified by the importing module's file."""

    def __init__(self, own_folders: tuple[str, ...]) -> None:
        library = os.path.dirname(os.__file__)
        self._refused = tuple(f"{folder}/" for folder in own_folders)
        self._library = f"{library}/"

    def find_spec(self, name, path=None, target=None):
        if name != "ssl":
            return None
        file = _importer()
        is_library = file.startswith(self._library) and "site-packages/" not in file
        if is_library or file.startswith(("<", *self._refused)):
            return None
        return importlib.machinery.ModuleSpec(name, self)

    def create_module(self, spec):
        return _Names(spec.name)

    def exec_module(self, module) -> None:
        module.SSLError = _Error
        for constant in ("HAS_SNI", "HAS_ALPN", "HAS_NPN", "HAS_NEVER_CHECK_COMMON_NAME"):
            setattr(module, constant, False)
        module.OPENSSL_VERSION, module.OPENSSL_VERSION_INFO = "none", (0, 0, 0, 0, 0)
        module.OPENSSL_VERSION_NUMBER = 0


def _importer() -> str:
    """Returns the file whose code is importing."""
    frame = sys._getframe(2)
    while frame is not None and any(part in frame.f_code.co_filename for part in _IMPORTS):
        frame = frame.f_back
    return frame.f_code.co_filename if frame is not None else "<none>"


class _Error(OSError):
    """Replaces `ssl.SSLError`."""


class _Kind(type):
    """The metaclass of `ssl`'s classes, some of which are enumerations: `TLSVersion.TLSv1_2`."""

    def __getattr__(cls, name):
        if name.startswith("_"):
            raise AttributeError(name)
        return 0

    def __call__(cls, *_, **__):
        raise NotImplementedError(f"ssl.{cls.__name__}: the sandbox has no TLS")


class _Names(types.ModuleType):
    """A module in which every name exists: as an exception, a constant or a class, according to its
    spelling."""

    def __getattr__(self, name):
        if name.startswith("_"):
            raise AttributeError(name)
        if name.endswith("Error"):
            found = type(name, (_Error,), {"__module__": "ssl"})
        elif name.isupper() or name.startswith(("OP_", "PROTOCOL_", "CERT_", "VERIFY_")):
            found = 0
        else:
            found = _Kind(name, (), {"__module__": "ssl"})
        setattr(self, name, found)
        return found
