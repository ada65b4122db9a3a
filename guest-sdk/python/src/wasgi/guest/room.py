"""Reserves a contiguous part of memory for requests. Runs in the sandbox, at the end of a build.

An import leaves small gaps everywhere in memory. A request's allocations would use them, and each
would write to a different page. Therefore the gaps are filled, so that the free memory is one piece
at the end.
"""

from __future__ import annotations

#: The size of the free memory at the end, in bytes: several times the allocations of a small
#: request. It consists of zeros, which are not stored in the component's file.
ROOM_BYTES = 2 << 20

#: The size before the code of warm paths is copied, in bytes: larger than any gap that is filled.
SMALL_ROOM_BYTES = 512 << 10

#: The size in a runtime, in bytes: what a small script needs for its load and then for requests.
#: More would make the state of each script larger.
RUNTIME_ROOM_BYTES = 4 << 20

#: The maximum size of a gap that is filled, in bytes. Larger gaps are contiguous enough.
_GAP_BYTES_MAX = 256 << 10

#: The maximum size that the interpreter allocates itself, in steps of `_STEP_BYTES` with separate
#: pages for each; the C library allocates larger ones.
_SMALL_BYTES_MAX = 512
_STEP_BYTES = 8

#: The size of an empty `bytes`, in bytes.
_BYTES_OVERHEAD = 17

#: The maximum number of fillings for each size: more than there are gaps. It limits the loop for an
#: allocator that behaves differently.
_FILLINGS_MAX = 200_000

# The objects that fill the gaps.
_fillings: list = []


def leave(room_bytes: int = ROOM_BYTES) -> None:
    """Fills all current gaps, so that this much free memory is contiguous. Memory that is freed
    afterwards is a gap again."""
    # Allocated first, so that objects that fit into a gap are placed before it.
    end = bytes(room_bytes)
    border = id(end)
    for size in _sizes():
        _fill(size, border)
    del end


def _sizes():
    """Yields sizes from the largest down: a small filling would split a large gap."""
    size = _GAP_BYTES_MAX
    while size > _SMALL_BYTES_MAX:
        yield size
        size = size * 7 // 8
    yield from range(_SMALL_BYTES_MAX, 0, -_STEP_BYTES)


def _fill(size: int, border: int) -> None:
    """Allocates all free memory of this size below an address."""
    for _ in range(_FILLINGS_MAX):
        filling = _filling(size)
        if id(filling) >= border:
            return
        _fillings.append(filling)


def _filling(size: int) -> object:
    """Returns an object of exactly this size."""
    if size > 2 * _STEP_BYTES:
        # It consists of zeros, which are not stored in the component's file.
        return bytes(size - _BYTES_OVERHEAD)
    return float(size) + len(_fillings) if size > _STEP_BYTES else object()
