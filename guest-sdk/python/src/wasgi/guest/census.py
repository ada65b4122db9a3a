"""Lists the objects that the snapshot has, for the build to make them immortal
(`wasgi.immortal`).

Runs in the sandbox, last of all. It finds what it can reach and need not find everything: an object
that is not on the list keeps an ordinary reference count.
"""

from __future__ import annotations

import gc
import opcode
import struct
import types
import zlib

#: Stands before the list's place in the snapshot, and by itself in other places too: as this
#: constant, and where copies of it were.
MARK = b"what is alive in this snapshot: "

#: Behind the mark, little-endian: the address of the list and its length; the address of the type
#: of code, and where in code its instructions begin; the two instructions below; and what to skip
#: behind each instruction, in units of two bytes. At the end a checksum over all of it, that tells
#: the note from another copy of the mark.
NOTE = struct.Struct("<IIIIBB256s")
CHECKSUM = struct.Struct("<I")

#: Stands for an instruction of which nothing is known.
UNKNOWN = 255

#: The instruction that loads a constant and counts it, and the one that does not. The interpreter
#: chooses when the code first runs, and does not look again.
_COUNTING, _NOT_COUNTING = "LOAD_CONST_MORTAL", "LOAD_CONST_IMMORTAL"

#: Objects lie at multiples of this, in bytes.
_ALIGNMENT = 8

#: As much memory as componentize-py can store, in bytes.
_MEMORY_BYTES = 128 << 20

#: What is to go when nobody refers to it, though its type has no ``__del__``: a view keeps its
#: buffer from being resized, and a frame belongs to what runs.
_MORTAL = (memoryview, types.FrameType)

# The list, which also keeps what is on it alive: the address of something that is gone may be that
# of anything. And the note of where it is.
_alive: list = []
_note = b""


def take() -> None:
    """Lists what is alive, and leaves a note of it for the build."""
    global _note
    _fill(_alive)
    instructions = opcode._specialized_opmap
    note = NOTE.pack(
        id(_alive),
        len(_alive),
        id(types.CodeType),
        types.CodeType.__basicsize__,
        instructions[_COUNTING],
        instructions[_NOT_COUNTING],
        _lengths(),
    )
    _note = MARK + note + CHECKSUM.pack(zlib.crc32(note))


def _lengths() -> bytes:
    """What to skip behind each instruction."""
    lengths = bytearray([UNKNOWN]) * 256
    caches = opcode._inline_cache_entries
    for name, number in opcode.opmap.items():
        if number < len(lengths):
            lengths[number] = caches.get(name.removeprefix("INSTRUMENTED_"), 0)
    # These stand in front of an instruction, and hide which.
    for name in ("INSTRUMENTED_LINE", "INSTRUMENTED_INSTRUCTION", "ENTER_EXECUTOR"):
        if name in opcode.opmap:
            lengths[opcode.opmap[name]] = UNKNOWN
    for name, family in opcode._specializations.items():
        for member in family:
            lengths[opcode._specialized_opmap[member]] = caches.get(name, 0)
    return bytes(lengths)


def is_mortal(kind: type) -> bool:
    """Whether objects of this type do something when they go: files, generators, and what has a
    ``__del__`` of its own."""
    return issubclass(kind, _MORTAL) or hasattr(kind, "__del__")


def _fill(alive: list) -> None:
    """Adds every object within reach, from those that the collector knows of."""
    # A bit for each place where an object may be: a set of 150,000 numbers would leave 10 MB.
    seen = bytearray(_MEMORY_BYTES // _ALIGNMENT // 8)

    def add(found) -> None:
        for thing in found:
            byte, bit = divmod(id(thing) // _ALIGNMENT % (len(seen) * 8), 8)
            if not seen[byte] & 1 << bit:
                seen[byte] |= 1 << bit
                alive.append(thing)

    add(gc.get_objects())
    # It grows meanwhile.
    for thing in alive:
        if thing is not alive:
            add(_behind(thing))
    alive[:] = [thing for thing in alive if not is_mortal(type(thing))]


def _behind(thing):
    """What an object refers to; also where the collector does not look, as there are no circles."""
    # Not `isinstance`, which asks lazy objects for a class, and so wakes them.
    kind = type(thing)
    yield kind
    yield from gc.get_referents(thing)
    if issubclass(kind, dict):
        yield from dict.keys(thing)
    elif issubclass(kind, type):
        # The collector knows nothing of the interpreter's own types.
        yield from (thing.__name__, thing.__qualname__, thing.__mro__, thing.__bases__)
        yield from vars(thing).values()
    elif kind is types.CodeType:
        yield from (thing.co_name, thing.co_qualname, thing.co_filename)
        yield from (thing.co_consts, thing.co_names, thing.co_linetable, thing.co_exceptiontable)
        # Tuples made for this call, of names that stay.
        yield from (*thing.co_varnames, *thing.co_cellvars, *thing.co_freevars)
