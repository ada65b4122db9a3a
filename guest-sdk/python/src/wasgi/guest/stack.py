"""Adapts the interpreter's guard against deep recursion to a handler's stack."""

from __future__ import annotations

#: The size of the C stack's address range that may be used before `RecursionError`, in bytes.
#: componentize-py reserves 1 MiB; the rest is for handling the exception. `wasgi.recursion`
#: determines how quickly the addresses are used up.
LIMIT_BYTES = 960_000


def guard(limit_bytes: int = LIMIT_BYTES) -> bool:
    """Sets how much of the C stack calls may use, and returns whether that was possible."""
    try:
        from wasgi.guest import _native
    except ImportError:
        return False
    _native.set_stack_limit(limit_bytes)
    return True
