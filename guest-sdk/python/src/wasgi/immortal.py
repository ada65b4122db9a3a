"""Makes the objects of a snapshot immortal: the interpreter no longer counts references to them.

Each count is a write to the snapshot, which copies a page for the request. CPython leaves the
count of an immortal object alone (PEP 683), has no way for a program to make one, and needs
none here: a snapshot is data. `wasgi.guest.census` lists the objects, and this sets their counts.

Why that is sound: immortal objects are a part of CPython, which asks for them wherever it counts,
but for one instruction that is replaced here. It changes an object in place only if its count is
one, which now is never. Should something count nevertheless, there is room for 2**28 in either
direction. The list itself holds each object, so none of them is gone by the time of the
snapshot. And each is looked at first: a count that can be, and a type that is on the list too.

What it means: such an object is not freed, so neither is what it still holds. Those that do
something when they are freed are not on the list.
"""

from __future__ import annotations

import dataclasses
import struct
import zlib

from wasgi.guest import census
from wasgi.snapshot import Snapshot, SnapshotError

#: `_Py_IMMORTAL_INITIAL_REFCNT` of CPython 3.14 where a pointer has 32 bits.
IMMORTAL = 5 << 28

#: `_Py_IMMORTAL_MINIMUM_REFCNT` there: a count from here on is not a count.
_IMMORTAL_FROM = 1 << 30

#: More references than a program's memory of 128 MiB has room for.
_COUNT_MAX = 128 << 20 >> 2

#: From here on the sign is set: nothing that the interpreter writes.
_COUNT_END = 1 << 31

_WORD = struct.Struct("<I")


def immortalize(snapshot: Snapshot) -> int:
    """Changes the count of every listed object, and returns how many were changed.

    Raises:
        SnapshotError: where there is no list, or something on it is not what it should be. The
            snapshot is then of no use: the component it was made of is.
    """
    note = _note(snapshot)
    # A list: its count, its type, its length, and where its items are.
    _, _, length, items = snapshot.words(note.alive, 4)
    if length != note.count:
        raise SnapshotError("the list of its objects is not where it should be")
    listed = snapshot.words(items, length)
    known = set(listed)
    changed = 0
    for address in listed:
        count, kind = snapshot.words(address, 2)
        if kind not in known:
            raise SnapshotError(f"what is at {address:#x} has no known type")
        if not (0 < count < _COUNT_MAX or _IMMORTAL_FROM <= count < _COUNT_END):
            raise SnapshotError(f"what is at {address:#x} has a count of {count}")
        if count < _IMMORTAL_FROM:
            snapshot.write(address, _WORD.pack(IMMORTAL))
            changed += 1
        if kind == note.code_type:
            _stop_counting_constants(snapshot, note, address)
    return changed


@dataclasses.dataclass(frozen=True)
class _Note:
    """What the guest left; `census.NOTE` documents it."""

    alive: int
    count: int
    code_type: int
    code_offset: int
    counting: int
    not_counting: int
    lengths: bytes


def _note(snapshot: Snapshot) -> _Note:
    size = census.NOTE.size
    found = {
        behind[:size]
        for behind in snapshot.behind(census.MARK, size + census.CHECKSUM.size)
        if behind[size:] == census.CHECKSUM.pack(zlib.crc32(behind[:size]))
    }
    if len(found) != 1:
        raise SnapshotError(f"{len(found)} lists of its objects were found, not one")
    return _Note(*census.NOTE.unpack(found.pop()))


def _stop_counting_constants(snapshot: Snapshot, note: _Note, address: int) -> None:
    """Has code load its constants, which are on the list too, without counting them: code that ran
    before has settled on the instruction that counts whatever the constant is."""
    # Its count, its type, its length in units of two bytes.
    _, _, units = snapshot.words(address, 3)
    start = address + note.code_offset
    code = snapshot.read(start, 2 * units)
    at = 0
    while at < len(code) and note.lengths[code[at]] != census.UNKNOWN:
        if code[at] == note.counting:
            snapshot.write(start + at, bytes([note.not_counting]))
        at += 2 + 2 * note.lengths[code[at]]
