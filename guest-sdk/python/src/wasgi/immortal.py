"""Makes the objects of a snapshot immortal, so that the interpreter doesn't count references to
them.

Each change of a count is a write to the snapshot, which copies a page for the request. CPython
doesn't change the count of an immortal object (PEP 683). It offers programs no way to make an
object immortal, and none is needed here: a snapshot is data. `wasgi.guest.census` lists the
objects, and this module sets their counts.

This is sound because CPython itself supports immortal objects: it checks for them wherever it
counts, except in one instruction that is replaced here. It changes an object in place only if its
count is one, which never happens now. If a count should still change, there is room for 2**28 in
either direction. The list holds a reference to each object, so all of them exist when the snapshot
is taken. Each object is also validated: its count must be plausible, and its type must be on the
list.

As a consequence, such an object is never freed, and neither are the objects that it still refers
to. Objects whose deallocation has side effects are not on the list.
"""

from __future__ import annotations

import dataclasses
import struct
import zlib

from wasgi.guest import census
from wasgi.snapshot import Snapshot, SnapshotError

#: `_Py_IMMORTAL_INITIAL_REFCNT` of CPython 3.14 for 32-bit pointers.
IMMORTAL = 5 << 28

#: `_Py_IMMORTAL_MINIMUM_REFCNT` of CPython 3.14: counts from here on mark immortal objects.
_IMMORTAL_FROM = 1 << 30

#: The maximum plausible count: a memory of 128 MiB has no room for more references.
_COUNT_MAX = 128 << 20 >> 2

#: From here on the sign bit is set, which the interpreter never does.
_COUNT_END = 1 << 31

_WORD = struct.Struct("<I")


def immortalize(snapshot: Snapshot) -> int:
    """Changes the count of each listed object, and returns the number of changed counts.

    Raises:
        SnapshotError: if there is no list, or one of its objects is not as expected. The snapshot
            is then unusable, but the component that it was made from is not.
    """
    note = _note(snapshot)
    # The fields of a list: its count, its type, its length, and the address of its items.
    _, _, length, items = snapshot.words(note.alive, 4)
    if length != note.count:
        raise SnapshotError("the list of its objects was not found")
    listed = snapshot.words(items, length)
    known = set(listed)
    changed = 0
    for address in listed:
        count, kind = snapshot.words(address, 2)
        if kind not in known:
            raise SnapshotError(f"the object at {address:#x} has an unknown type")
        if not (0 < count < _COUNT_MAX or _IMMORTAL_FROM <= count < _COUNT_END):
            raise SnapshotError(f"the object at {address:#x} has a reference count of {count}")
        if count < _IMMORTAL_FROM:
            snapshot.write(address, _WORD.pack(IMMORTAL))
            changed += 1
        if kind == note.code_type:
            _stop_counting_constants(snapshot, note, address)
    return changed


@dataclasses.dataclass(frozen=True)
class _Note:
    """The guest's note; `census.NOTE` documents it."""

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
        raise SnapshotError(f"{len(found)} lists of its objects were found instead of one")
    return _Note(*census.NOTE.unpack(found.pop()))


def _stop_counting_constants(snapshot: Snapshot, note: _Note, address: int) -> None:
    """Makes code load its constants, which are on the list too, without counting them. Code that
    has already run uses a specialized instruction that always counts."""
    # Its count, its type, and its length in units of two bytes.
    _, _, units = snapshot.words(address, 3)
    start = address + note.code_offset
    code = snapshot.read(start, 2 * units)
    at = 0
    while at < len(code) and note.lengths[code[at]] != census.UNKNOWN:
        if code[at] == note.counting:
            snapshot.write(start + at, bytes([note.not_counting]))
        at += 2 + 2 * note.lengths[code[at]]
