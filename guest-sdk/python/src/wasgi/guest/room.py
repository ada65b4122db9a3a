"""Leaves requests a place of their own in memory. Runs in the sandbox, at the end of a build.

An import leaves small gaps in all of the memory, and whatever a request allocates would go into
them, a write to a different page each time. So the gaps are filled, and what is free is one piece
at the end.
"""

from __future__ import annotations

#: What is free at the end, in bytes: several times what a small request allocates. It is zeros, and
#: no part of the component's file.
ROOM_BYTES = 2 << 20

#: The largest gap that is filled, in bytes. Larger ones are pieces by themselves.
_GAP_BYTES_MAX = 256 << 10

#: Up to here the interpreter allocates in steps of `_STEP_BYTES`, each from pages of its own;
#: above it the C library does.
_SMALL_BYTES_MAX = 512
_STEP_BYTES = 8

#: What an empty `bytes` takes, in bytes.
_BYTES_OVERHEAD = 17

#: More than there are gaps of a size. A bound for an allocator that behaves differently.
_FILLINGS_MAX = 200_000

# What fills the gaps.
_fillings: list = []


def leave() -> None:
    """Fills the gaps that are there now. What is freed afterwards is a gap again."""
    # Nothing that fits into a gap may come to lie behind it.
    end = bytes(ROOM_BYTES)
    border = id(end)
    for size in _sizes():
        _fill(size, border)
    del end


def _sizes():
    """From the largest down: a small one would break a large gap into pieces."""
    size = _GAP_BYTES_MAX
    while size > _SMALL_BYTES_MAX:
        yield size
        size = size * 7 // 8
    yield from range(_SMALL_BYTES_MAX, 0, -_STEP_BYTES)


def _fill(size: int, border: int) -> None:
    """Takes all that is free in this size before an address."""
    for _ in range(_FILLINGS_MAX):
        filling = _filling(size)
        if id(filling) >= border:
            return
        _fillings.append(filling)


def _filling(size: int) -> object:
    """An object of exactly this size."""
    if size > 2 * _STEP_BYTES:
        # Of zeros, which take no place in the component's file.
        return bytes(size - _BYTES_OVERHEAD)
    return float(size) + len(_fillings) if size > _STEP_BYTES else object()
