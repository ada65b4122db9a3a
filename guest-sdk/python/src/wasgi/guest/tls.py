"""Provides the module `ssl`, for the sandbox, whose Python has no OpenSSL."""

from __future__ import annotations

import importlib.util
import sys

from wasgi.guest import https


def install() -> None:
    """Provides the module, if the interpreter has none, and changes HTTP clients that use it."""
    if importlib.util.find_spec("_ssl") is None:
        from wasgi.guest import ssl_module

        sys.modules["ssl"] = ssl_module
        https.install()
