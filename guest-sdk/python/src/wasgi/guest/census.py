"""Lists the objects of the snapshot, so that the build can make them immortal (`wasgi.immortal`), or
the server those of a script.

Runs in the sandbox, as the last step. The list contains all objects that it can reach, but it need
not be complete: other objects keep an ordinary reference count.
"""

from __future__ import annotations

import gc
import opcode
import struct
import sys
import types
import zlib

#: Precedes the note in the snapshot. The mark also occurs elsewhere: as this constant, and in
#: leftover copies.
MARK = b"what is alive in this snapshot: "

#: The data after the mark, little-endian: the address of the list and its length; the address of
#: the code type, and the offset of the instructions in a code object; the two instructions below;
#: and the number of units of two bytes to skip after each instruction. A checksum at the end
#: distinguishes the note from other occurrences of the mark.
NOTE = struct.Struct("<IIIIBB256s")
CHECKSUM = struct.Struct("<I")

#: Marks an instruction without known length.
UNKNOWN = 255

#: The instruction that loads a constant and counts the reference, and the one that doesn't count.
#: The interpreter chooses when the code first runs, and keeps its choice.
_COUNTING, _NOT_COUNTING = "LOAD_CONST_MORTAL", "LOAD_CONST_IMMORTAL"

#: The alignment of objects, in bytes.
_ALIGNMENT = 8

#: The maximum memory of an interpreter at its snapshot, in bytes: that of a script.
_MEMORY_BYTES_MAX = 256 << 20

#: Types whose objects must be freed when they are no longer referenced, though they have no
#: ``__del__``: a view prevents its buffer from being resized, and a frame belongs to running code.
_MORTAL = (memoryview, types.FrameType)

# The list also keeps its objects alive: the address of a freed object could be reused. The note
# contains the list's address.
_alive: list = []
_note = b""

# The lists of the steps in which a script is loaded.
_added: list[list] = []

# Whether an object is immortal already. The sandbox's Python has the function.
_is_immortal = getattr(sys, "_is_immortal", lambda thing: False)


def take() -> None:
    """Lists the live objects, and stores the note for the build."""
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


def take_new() -> dict[str, object]:
    """Lists the live objects that are not immortal yet, and returns what the server needs to make
    them immortal: the address of the list, and the fields of `NOTE` about code."""
    added: list = []
    _added.append(added)
    _fill(added, is_known=_is_immortal)
    instructions = opcode._specialized_opmap
    return {
        "list": id(added),
        "code_type": id(types.CodeType),
        "code_offset": types.CodeType.__basicsize__,
        "counting": instructions[_COUNTING],
        "not_counting": instructions[_NOT_COUNTING],
        "lengths": list(_lengths()),
    }


def _lengths() -> bytes:
    """Returns the number of units to skip after each instruction."""
    lengths = bytearray([UNKNOWN]) * 256
    caches = opcode._inline_cache_entries
    for name, number in opcode.opmap.items():
        if number < len(lengths):
            lengths[number] = caches.get(name.removeprefix("INSTRUMENTED_"), 0)
    # These precede an instruction, and hide which one it is.
    for name in ("INSTRUMENTED_LINE", "INSTRUMENTED_INSTRUCTION", "ENTER_EXECUTOR"):
        if name in opcode.opmap:
            lengths[opcode.opmap[name]] = UNKNOWN
    for name, family in opcode._specializations.items():
        for member in family:
            lengths[opcode._specialized_opmap[member]] = caches.get(name, 0)
    return bytes(lengths)


def is_mortal(kind: type) -> bool:
    """Returns whether freeing objects of this type has side effects: files, generators, and types
    with a ``__del__``."""
    return issubclass(kind, _MORTAL) or hasattr(kind, "__del__")


def _fill(alive: list, is_known=lambda thing: False) -> None:
    """Adds all objects that are reachable from those that the collector knows, except known ones
    and what only they refer to."""
    found = gc.get_objects()
    # A bit for each possible address: a set of 150,000 numbers would leave 10 MB. Most objects that
    # the collector doesn't track lie between others. Of those beyond, and of those of a larger
    # memory, the ones that share a bit with another are left out.
    memory_bytes = min(max(map(id, found)) * 9 // 8, _MEMORY_BYTES_MAX)
    seen = bytearray(memory_bytes // _ALIGNMENT // 8 + 1)

    def add(found) -> None:
        for thing in found:
            byte, bit = divmod(id(thing) // _ALIGNMENT % (len(seen) * 8), 8)
            if not seen[byte] & 1 << bit:
                seen[byte] |= 1 << bit
                if not is_known(thing):
                    alive.append(thing)

    add(found)
    # The list grows during the loop.
    for thing in alive:
        if thing is not alive:
            add(_behind(thing))
    alive[:] = [thing for thing in alive if not is_mortal(type(thing))]


def _behind(thing):
    """Yields an object's references, also those that the collector doesn't track because they can't
    form cycles."""
    # `isinstance` would query the class of lazy objects, which would initialize them.
    kind = type(thing)
    yield kind
    yield from gc.get_referents(thing)
    if issubclass(kind, dict):
        yield from dict.keys(thing)
    elif issubclass(kind, type):
        # The collector doesn't track the interpreter's own types.
        yield from (thing.__name__, thing.__qualname__, thing.__mro__, thing.__bases__)
        yield from vars(thing).values()
    elif kind is types.CodeType:
        yield from (thing.co_name, thing.co_qualname, thing.co_filename)
        yield from (thing.co_consts, thing.co_names, thing.co_linetable, thing.co_exceptiontable)
        # The tuples are created by this call; the names in them persist.
        yield from (*thing.co_varnames, *thing.co_cellvars, *thing.co_freevars)
