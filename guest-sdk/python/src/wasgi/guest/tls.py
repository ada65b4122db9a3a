"""The module `ssl`, for installed packages that import it without needing it, such as HTTP clients
for plain connections. Its names exist, but using one raises an error: sockets have no TLS.

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
        # `os` is part of the interpreter, and may name another folder than the modules' files have.
        files = (os.__file__, types.__file__)
        self._refused = tuple(f"{folder}/" for folder in own_folders)
        self._library = tuple(f"{os.path.dirname(file)}/" for file in files)

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
        module.SSLContext = _Context
        module.create_default_context = module._create_unverified_context = _Context


def _importer() -> str:
    """Returns the file whose code is importing."""
    frame = sys._getframe(2)
    while frame is not None and any(part in frame.f_code.co_filename for part in _IMPORTS):
        frame = frame.f_back
    return frame.f_code.co_filename if frame is not None else "<none>"


class _Error(OSError):
    """Replaces `ssl.SSLError`."""


class _Context:
    """Replaces `ssl.SSLContext`. Clients create one even if they use plain connections only, so
    that its settings are accepted, and encrypting a connection raises an error."""

    #: Settings that clients read before they set them.
    check_hostname = True
    options = verify_flags = verify_mode = minimum_version = maximum_version = 0
    post_handshake_auth = False
    keylog_filename = None

    def __init__(self, *_, **__) -> None:
        pass

    def _accept(self, *_, **__) -> None:
        pass

    load_cert_chain = load_default_certs = load_verify_locations = _accept
    set_alpn_protocols = set_ciphers = set_default_verify_paths = _accept

    def get_ca_certs(self, binary_form=False) -> list:
        return []

    def wrap_socket(self, *_, **__):
        raise _Error("the sandbox has no TLS: sockets have plain connections only")

    wrap_bio = wrap_socket


_Context.__module__, _Context.__qualname__ = "ssl", "SSLContext"


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
