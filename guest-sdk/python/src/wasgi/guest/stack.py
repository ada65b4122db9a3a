"""Fits the interpreter's guard against deep recursion to the stack that a handler has."""

from __future__ import annotations

#: As much of the C stack's addresses as is used before `RecursionError`, in bytes. componentize-py
#: gives it 1 MiB; what is below the limit is for the exception. `wasgi.recursion` has the other half
#: of this: how fast the addresses are used up.
LIMIT_BYTES = 960_000


def guard(limit_bytes: int = LIMIT_BYTES) -> bool:
    """Sets how much of the C stack calls may use, and returns whether that could be set."""
    try:
        from wasgi.guest import _native
    except ImportError:
        return False
    _native.set_stack_limit(limit_bytes)
    return True
