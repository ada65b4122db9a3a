"""The memory in a component, and the build's changes to it."""

import contextlib
import io
import struct
import unittest
import zlib

from wasgi.build import lightened
from wasgi.guest import census
from wasgi.immortal import IMMORTAL, immortalize
from wasgi.snapshot import Snapshot, SnapshotError

COMPONENT = b"\0asm\x0d\0\1\0"
MODULE = b"\0asm\1\0\0\0"


def number(value: int) -> bytes:
    low = bytearray()
    while value >= 0x80:
        low.append(value & 0x7F | 0x80)
        value >>= 7
    # An additional zero, so that no bit is interpreted as a sign.
    return bytes(low) + (bytes([value | 0x80, 0]) if value & 0x40 else bytes([value]))


def section(kind: int, content: bytes) -> bytes:
    return bytes([kind]) + number(len(content)) + content


def segment(address: int, content: bytes) -> bytes:
    return b"\0\x41" + number(address) + b"\x0b" + number(len(content)) + content


def component(*segments: tuple[int, bytes]) -> bytes:
    """Returns a component with a module without data, a module with these segments, and a section
    after them."""
    data = number(len(segments)) + b"".join(segment(*each) for each in segments)
    with_data = MODULE + section(5, b"\1\0\1") + section(11, data)
    return (
        COMPONENT + section(0, b"\4name") + section(1, MODULE) + section(1, with_data)
        + section(7, b"\0")
    )  # fmt: skip


class ReadsAndWrites(unittest.TestCase):
    def test_what_is_left_out_is_zeros(self):
        snapshot = Snapshot(component((0x1000, b"abcd"), (0x1006, b"ef")))
        self.assertEqual(snapshot.read(0xFFE, 12), b"\0\0abcd\0\0ef\0\0")

    def test_words_may_reach_over_two_segments(self):
        snapshot = Snapshot(component((64, b"\1\0"), (66, b"\0\2\3\0\0\0")))
        self.assertEqual(snapshot.words(64, 2), (0x0200_0001, 3))
        snapshot.write(64, struct.pack("<I", 0x0403_0201))
        self.assertEqual(snapshot.read(64, 5), b"\1\2\3\4\3")

    def test_a_change_is_in_the_component_and_nowhere_else(self):
        before = component((16, b"before"), (64, b"behind"))
        snapshot = Snapshot(before)
        snapshot.write(16, b"edited")
        self.assertEqual(bytes(snapshot.component), component((16, b"edited"), (64, b"behind")))

    def test_what_is_left_out_can_not_be_changed(self):
        snapshot = Snapshot(component((16, b"abc")))
        with self.assertRaisesRegex(SnapshotError, "has no data at 0x10"):
            snapshot.write(16, b"abcd")
        self.assertEqual(snapshot.read(16, 4), b"abc\0")

    def test_what_is_not_laid_out_so_is_refused(self):
        without = COMPONENT + section(1, MODULE)
        data = section(1, MODULE + section(11, b"\1" + segment(1, b"x")))
        for refused, reason in [
            (b"", "not a component"),
            (MODULE, "not a component"),
            (without, "0 of its modules have data"),
            (COMPONENT + data + data, "2 of its modules have data"),
            (COMPONENT + section(1, MODULE + section(11, b"\1\1\1x")), "no constant address"),
            (COMPONENT + section(1, MODULE + section(11, b"\1\0\x41\1\x6a")), "is computed"),
            (component((16, b"abcd"))[:-8], "truncated"),
        ]:
            with self.subTest(reason), self.assertRaisesRegex(SnapshotError, reason):
                Snapshot(refused)


#: The length of instruction 1 in these tests' interpreter: two units.
COUNTING, NOT_COUNTING, LONG = 7, 8, 1
LENGTHS = bytes(0 if index != LONG else 2 for index in range(255)) + bytes([census.UNKNOWN])

TYPE, CODE_TYPE, TEXT, CODE, LIST, ITEMS = 0x100, 0x200, 0x300, 0x400, 0x600, 0x700
CODE_OFFSET = 16


class Interpreter:
    """A memory with some objects and the guest's note about them."""

    def __init__(self) -> None:
        self.counts = {TYPE: 0x5000_0000, CODE_TYPE: 12, TEXT: 3, CODE: 1}
        self.types = {TYPE: TYPE, CODE_TYPE: TYPE, TEXT: TYPE, CODE: CODE_TYPE}
        self.instructions = bytes([COUNTING, 0, LONG, 0, COUNTING, 0, COUNTING, 0, COUNTING, 5])
        self.length = len(self.counts)
        self.notes = [self.note()]

    def note(self, place: int = LIST) -> bytes:
        note = census.NOTE.pack(
            place, len(self.counts), CODE_TYPE, CODE_OFFSET, COUNTING, NOT_COUNTING, LENGTHS
        )
        return census.MARK + note + census.CHECKSUM.pack(zlib.crc32(note))

    def component(self) -> bytes:
        units = len(self.instructions) // 2
        segments = {
            address: struct.pack("<III", count, self.types[address], units)
            for address, count in self.counts.items()
        }
        segments[CODE] += bytes(CODE_OFFSET - 12) + self.instructions
        segments[LIST] = struct.pack("<4I", 1, TYPE, self.length, ITEMS)
        segments[ITEMS] = struct.pack(f"<{len(self.counts)}I", *self.counts)
        for index, note in enumerate(self.notes):
            segments[0x1000 + 0x1000 * index] = note
        # Only the mark: a leftover of the constant.
        segments[0x8000] = census.MARK + b"and something else"
        return component(*segments.items())


class MakesImmortal(unittest.TestCase):
    def setUp(self):
        self.interpreter = Interpreter()

    def refused(self, reason: str) -> None:
        with self.assertRaisesRegex(SnapshotError, reason):
            immortalize(Snapshot(self.interpreter.component()))

    def test_counts_that_are_counts_are_changed_and_no_others(self):
        self.interpreter.counts[TYPE] = 0x7000_0000
        snapshot = Snapshot(self.interpreter.component())
        self.assertEqual(immortalize(snapshot), 3)
        counts = {address: snapshot.words(address, 1)[0] for address in self.interpreter.counts}
        immortal = dict.fromkeys([CODE_TYPE, TEXT, CODE], IMMORTAL)
        self.assertEqual(counts, {TYPE: 0x7000_0000, **immortal})
        # Its type and its length.
        self.assertEqual(snapshot.words(TEXT + 4, 2), (TYPE, 5))

    def test_constants_are_no_longer_counted(self):
        snapshot = Snapshot(self.interpreter.component())
        immortalize(snapshot)
        # Bytes that look like the instruction but follow another one are its data.
        expected = bytes([NOT_COUNTING, 0, LONG, 0, COUNTING, 0, COUNTING, 0, NOT_COUNTING, 5])
        self.assertEqual(snapshot.read(CODE + CODE_OFFSET, len(expected)), expected)

    def test_behind_an_unknown_instruction_nothing_is_changed(self):
        self.interpreter.instructions = bytes([COUNTING, 0, 255, 0, COUNTING, 0])
        snapshot = Snapshot(self.interpreter.component())
        immortalize(snapshot)
        expected = bytes([NOT_COUNTING, 0, 255, 0, COUNTING, 0])
        self.assertEqual(snapshot.read(CODE + CODE_OFFSET, len(expected)), expected)

    def test_the_same_note_twice_is_one(self):
        self.interpreter.notes *= 2
        self.assertEqual(immortalize(Snapshot(self.interpreter.component())), 3)

    def test_without_exactly_one_list_it_is_refused(self):
        self.interpreter.notes = []
        self.refused("0 lists of its objects")
        self.interpreter.notes = [self.interpreter.note(), self.interpreter.note(place=TEXT)]
        self.refused("2 lists of its objects")
        damaged = bytearray(self.interpreter.note())
        damaged[-1] ^= 1
        self.interpreter.notes = [bytes(damaged)]
        self.refused("0 lists of its objects")

    def test_a_list_of_another_length_is_refused(self):
        self.interpreter.length -= 1
        self.refused("was not found")

    def test_an_unknown_type_is_refused(self):
        self.interpreter.types[TEXT] = LIST
        self.refused("the object at 0x300 has an unknown type")

    def test_what_is_no_count_is_refused(self):
        for count in (0, 0x0300_0000, 0x8000_0000):
            self.interpreter.counts[TEXT] = count
            with self.subTest(count):
                self.refused(f"the object at 0x300 has a reference count of {count}")

    def test_a_build_goes_on_with_what_it_had_and_says_why(self):
        self.interpreter.counts[CODE] = 0
        refused = self.interpreter.component()
        with contextlib.redirect_stderr(io.StringIO()) as written:
            self.assertEqual(lightened(refused), refused)
        self.assertEqual(written.getvalue().count("\n"), 1)
        self.assertIn("0x400 has a reference count of 0", written.getvalue())

        self.interpreter.counts[CODE] = 1
        with contextlib.redirect_stderr(io.StringIO()) as written:
            self.assertNotEqual(lightened(self.interpreter.component()), refused)
        self.assertEqual(written.getvalue(), "")
