"""Reads and changes the memory in a component by address. This is not a general WebAssembly parser:
it supports only the expected layout, and rejects any other."""

from __future__ import annotations

import bisect
import struct
from collections.abc import Iterator

#: The magic number, version and layer of a component, and of a module in it.
_COMPONENT = b"\0asm\x0d\0\1\0"
_MODULE = b"\0asm\1\0\0\0"

#: Section IDs: of a module in a component, and of data in a module.
_CORE_MODULE = 1
_DATA = 11

#: The start of a segment of memory 0 with a constant address, and the end of the address.
_ACTIVE_I32_CONST = b"\0\x41"
_END = 0x0B

_WORD_BYTES = 4


class SnapshotError(Exception):
    """The component has an unexpected layout. The message is one line."""


class Snapshot:
    """A component's memory in the initial state of an instance."""

    def __init__(self, component: bytes | bytearray) -> None:
        """Finds the segments.

        Raises:
            SnapshotError: if this is not a component, or not exactly one module has data.
        """
        #: The component with all changes.
        self.component = bytearray(component)
        try:
            # The address, the offset in the component, and the length of each segment.
            self._segments = sorted(self._find_segments())
        except (IndexError, struct.error):
            raise SnapshotError("the component is truncated") from None
        self._addresses = [address for address, _, _ in self._segments]

    def read(self, address: int, size: int) -> bytes:
        """Returns the bytes at an address. Bytes outside of all segments are zero."""
        found = bytearray(size)
        for start, place, length in self._places(address, size):
            at = start - address
            found[at : at + length] = self.component[place : place + length]
        return bytes(found)

    def words(self, address: int, count: int) -> tuple[int, ...]:
        """Returns `count` words of 32 bits."""
        return struct.unpack(f"<{count}I", self.read(address, count * _WORD_BYTES))

    def write(self, address: int, content: bytes) -> None:
        """Writes bytes at an address.

        Raises:
            SnapshotError: if some of them are outside of all segments.
        """
        places = list(self._places(address, len(content)))
        if sum(length for _, _, length in places) != len(content):
            raise SnapshotError(f"the component has no data at {address:#x}")
        for start, place, length in places:
            at = start - address
            self.component[place : place + length] = content[at : at + length]

    def behind(self, mark: bytes, size: int) -> Iterator[bytes]:
        """Returns the bytes that follow each occurrence of the mark."""
        place = self.component.find(mark)
        while place >= 0:
            place += len(mark)
            yield bytes(self.component[place : place + size])
            place = self.component.find(mark, place)

    def _places(self, address: int, size: int) -> Iterator[tuple[int, int, int]]:
        """Returns the address, the offset in the component, and the length of each stored range."""
        end = address + size
        index = max(bisect.bisect_right(self._addresses, address) - 1, 0)
        while index < len(self._segments) and self._addresses[index] < end:
            start, place, length = self._segments[index]
            first, last = max(start, address), min(start + length, end)
            if first < last:
                yield first, place + first - start, last - first
            index += 1

    def _find_segments(self) -> list[tuple[int, int, int]]:
        if self.component[: len(_COMPONENT)] != _COMPONENT:
            raise SnapshotError("it is not a component")
        found = [
            place
            for kind, start, end in self._sections(len(_COMPONENT), len(self.component))
            if kind == _CORE_MODULE and self.component[start : start + len(_MODULE)] == _MODULE
            for kind, place, _ in self._sections(start + len(_MODULE), end)
            if kind == _DATA
        ]
        if len(found) != 1:
            raise SnapshotError(f"{len(found)} of its modules have data instead of one")
        return self._read_segments(found[0])

    def _sections(self, place: int, end: int) -> Iterator[tuple[int, int, int]]:
        while place < end:
            kind = self.component[place]
            size, start = self._number(place + 1)
            place = start + size
            yield kind, start, place

    def _read_segments(self, place: int) -> list[tuple[int, int, int]]:
        segments = []
        count, place = self._number(place)
        for _ in range(count):
            behind = place + len(_ACTIVE_I32_CONST)
            if self.component[place:behind] != _ACTIVE_I32_CONST:
                raise SnapshotError("a segment has no constant address")
            # The sign doesn't matter: no memory here exceeds half of the address space.
            address, place = self._number(behind)
            if self.component[place] != _END:
                raise SnapshotError("a segment's address is computed")
            size, place = self._number(place + 1)
            if place + size > len(self.component):
                raise SnapshotError("the component is truncated")
            segments.append((address, place, size))
            place += size
        return segments

    def _number(self, place: int) -> tuple[int, int]:
        """Decodes a number in LEB128, and returns it with its end."""
        number = shift = 0
        while True:
            byte = self.component[place]
            place += 1
            number |= (byte & 0x7F) << shift
            shift += 7
            if byte < 0x80:
                return number, place
