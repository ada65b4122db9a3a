"""Makes deep recursion in CPython's C code raise a `RecursionError` instead of trapping.

CPython 3.14 limits its recursion by the address of the C stack. WebAssembly has two stacks:
variables that have an address are in the linear memory, and all others are on the engine's stack,
which a program can't observe and which overflows first. Functions whose variables need no address,
such as the scanner of `json`, don't use the former stack at all, so the guard doesn't notice them.

Therefore each function that calls the guard, and each that frees an object, is wrapped in a small
function that moves the address of the C stack by `STEP_BYTES` around the call. `wasgi.guest.stack`
sets the matching limit. Some recursive functions don't call the guard, and CPython ends the process
if they recurse too deeply. They are wrapped in a function that calls it.
"""

from __future__ import annotations

import dataclasses

#: The number of bytes by which the address moves. Including the unwrapped functions between two
#: wrapped ones, a wrapped function uses 200 to 1,200 bytes of the engine's stack of 2 MiB
#: (`WASM_STACK_BYTES` in `host/src/engine/pools/settings.rs`). The limit
#: (`wasgi.guest.stack.LIMIT_BYTES`) is reached first.
STEP_BYTES = 768

#: The parser's functions have a separate step, since one pair of parentheses involves 25 of them.
#: Each uses 170 bytes of the engine's stack, and CPython allows 200 pairs.
_PARSES, _PARSES_STEP_BYTES = b"_rule", 112

#: The return values, in case of an exception, of functions that don't call the guard and recurse as
#: deeply as an object or a syntax tree: hashes, types with parameters, constant folding, attributes
#: and items that an object asks another one for, generators that close each other, and copies of
#: XML trees.
_UNGUARDED = {
    **dict.fromkeys([b"tuple_hash", b"slice_hash", b"ga_hash", b"union_hash", b"method_hash"], -1),
    b"mappingproxy_hash": -1,
    b"_Py_make_parameters": 0, b"_Py_subs_parameters": 0,
    b"astfold_expr": 0, b"_PyCode_ConstantKey": 0,
    b"_PyObject_IsAbstract": -1, b"gen_close_iter": -1, b"method_getattro": 0,
    b"mappingproxy_len": -1, b"mappingproxy_contains": -1,
    **dict.fromkeys([b"mappingproxy_getitem", b"mappingproxy_getiter", b"mappingproxy_or"], 0),
    b"_elementtree_Element___deepcopy___impl": 0,
}  # fmt: skip

#: They have a separate step, since each uses less than 400 bytes of the engine's stack.
_UNGUARDED_STEP_BYTES = 400

#: Functions that don't call the guard either and return 0 in case of an exception: iterators and
#: callables that have others in them. Each uses less than 250 bytes of the engine's stack.
_NESTED = frozenset([
    b"chain_next", b"map_next", b"filter_next", b"zip_next", b"enum_next", b"islice_next",
    b"starmap_next", b"takewhile_next", b"dropwhile_next", b"filterfalse_next", b"accumulate_next",
    b"cycle_next", b"compress_next", b"groupby_next", b"_grouper_next", b"pairwise_next",
    b"batched_next", b"zip_longest_next", b"tee_next", b"partial_vectorcall",
])  # fmt: skip

_NESTED_STEP_BYTES = 160

#: Calls the guard, and returns a value other than 0 if that raised `RecursionError`. Its argument
#: is the address of a text that ends the message; the text at address 0 is empty.
_ASK = b"Py_EnterRecursiveCall"

#: The interpreter's loop, which calls the guard in a different way.
_LOOP = b"_PyEval_EvalFrameDefault"

#: Functions that use the guard call one of these.
_GUARDS = (b"_Py_CheckRecursiveCall", b"_Py_ReachedRecursionLimitWithMargin")

#: Functions that free an object, and those for objects without references to others.
_FREES = b"_dealloc"
_FREES_LEAF = frozenset(
    [b"unicode_dealloc", b"long_dealloc", b"float_dealloc", b"complex_dealloc", b"object_dealloc"]
)

_COMPONENT = b"\0asm\x0d\0\1\0"
_HEADER_BYTES = 8
#: Section IDs: of a module in a component, and of a module's own sections.
_CORE_MODULE = 1
_CUSTOM, _TYPE, _IMPORT, _FUNCTION, _EXPORT, _CODE = 0, 1, 2, 3, 7, 10

#: The global that contains the stack pointer.
_STACK_POINTER = (b"env", b"__stack_pointer")

_CALL, _IF_I32, _ELSE, _END = b"\x10", b"\x04\x7f", b"\x05", b"\x0b"
_NUMBER = {0: b"\x41\x00", -1: b"\x41\x7f"}


class LayoutError(Exception):
    """The component has an unexpected layout. The message is one line."""


def guarded(component: bytes) -> bytes:
    """Returns the component with its functions wrapped.

    Raises:
        LayoutError: if it has no CPython module, or one with a different layout.
    """
    if component[:_HEADER_BYTES] != _COMPONENT:
        raise LayoutError("it is not a component")
    try:
        for section in _sections(component, _HEADER_BYTES, len(component)):
            if section.number != _CORE_MODULE:
                continue
            module = component[section.start : section.end]
            exports = _exports(module)
            if _GUARDS[0] in exports:
                changed = _with_steps(module, exports)
                head = bytes([_CORE_MODULE]) + _leb(len(changed))
                return component[: section.begin] + head + changed + component[section.end :]
    except (IndexError, KeyError, ValueError) as error:
        raise LayoutError(f"a module can't be read: {error!r}") from None
    raise LayoutError("it contains no module of CPython")


@dataclasses.dataclass(frozen=True)
class _Section:
    number: int
    #: The offset of its ID, and that of its content.
    begin: int
    start: int
    end: int


def _sections(content: bytes, start: int, end: int):
    while start < end:
        size, at = _number(content, start + 1)
        yield _Section(content[start], start, at, at + size)
        start = at + size


def _with_steps(module: bytes, exports: dict[bytes, int]) -> bytes:
    sections = {each.number: each for each in _sections(module, _HEADER_BYTES, len(module))}
    imported, stack_pointer = _imports(module, sections[_IMPORT])
    types = _types(module, sections[_TYPE])
    kinds = _kinds(module, sections[_FUNCTION])
    bodies = _bodies(module, sections[_CODE])
    names = _names(module)
    calls = [_CALL + form for name in _GUARDS if name in exports for form in _forms(exports[name])]
    guards = {exports[name] for name in _GUARDS if name in exports}
    unguarded = {**_UNGUARDED, **dict.fromkeys(_NESTED, 0)} if _ASK in exports else {}
    found = []
    for index, (start, end) in enumerate(bodies):
        name = names.get(imported + index, b"")
        frees = name.endswith(_FREES) and name not in _FREES_LEAF
        # The bytes of a call may be part of a number: such a function has an unnecessary step.
        asks = any(module.find(call, start, end) >= 0 for call in calls)
        if (frees or asks or name == _LOOP or name in unguarded) and imported + index not in guards:
            found.append(index)
    steps, moved = {}, []
    for number, index in enumerate(found):
        inner = imported + len(bodies) + number
        name = names.get(imported + index, b"")
        arguments = b"".join(b"\x20" + _leb(at) for at in range(types[kinds[index]]))
        call = arguments + _CALL + _leb(inner)
        size = _PARSES_STEP_BYTES if name.endswith(_PARSES) else STEP_BYTES
        if name in unguarded:
            size = _NESTED_STEP_BYTES if name in _NESTED else _UNGUARDED_STEP_BYTES
            asked = _NUMBER[0] + _CALL + _leb(exports[_ASK])
            call = asked + _IF_I32 + _NUMBER[unguarded[name]] + _ELSE + call + _END
        steps[index] = _step(call, stack_pointer, size)
        moved.append(index)
    kept = [
        steps.get(index) or module[start:end] for index, (start, end) in enumerate(bodies)
    ] + [module[slice(*bodies[index])] for index in moved]
    code = _leb(len(kept)) + b"".join(_leb(len(body)) + body for body in kept)
    functions = [*kinds, *(kinds[index] for index in moved)]
    declared = _leb(len(functions)) + b"".join(map(_leb, functions))
    changed = {_CODE: code, _FUNCTION: declared}
    parts = [module[:_HEADER_BYTES]]
    for section in _sections(module, _HEADER_BYTES, len(module)):
        content = changed.get(section.number)
        if content is None:
            parts.append(module[section.begin : section.end])
        else:
            parts.append(bytes([section.number]) + _leb(len(content)) + content)
    return b"".join(parts)


def _step(call: bytes, stack_pointer: int, size: int) -> bytes:
    """Returns a function that moves the stack pointer around a call."""
    get, put = b"\x23" + _leb(stack_pointer), b"\x24" + _leb(stack_pointer)
    by = b"\x41" + _signed(size)
    return b"\0" + get + by + b"\x6b" + put + call + get + by + b"\x6a" + put + _END


def _imports(module: bytes, section: _Section) -> tuple[int, int]:
    """Returns the number of imported functions, and the index of the stack pointer's global."""
    count, at = _number(module, section.start)
    functions = globals_ = 0
    stack_pointer = None
    for _ in range(count):
        space, at = _text(module, at)
        name, at = _text(module, at)
        kind, at = module[at], at + 1
        if kind == 0:
            functions += 1
            _, at = _number(module, at)
        elif kind == 1:
            at = _limits(module, at + 1)
        elif kind == 2:
            at = _limits(module, at)
        elif kind == 3:
            if (space, name) == _STACK_POINTER:
                stack_pointer = globals_
            globals_ += 1
            at += 2
        else:
            raise ValueError(f"an unknown kind of import: {kind}")
    if stack_pointer is None:
        raise ValueError("it has no stack pointer")
    return functions, stack_pointer


def _types(module: bytes, section: _Section) -> list[int]:
    """Returns the number of parameters of each type."""
    count, at = _number(module, section.start)
    found = []
    for _ in range(count):
        if module[at] != 0x60:
            raise ValueError(f"an unknown form of type: {module[at]:#x}")
        parameters, at = _number(module, at + 1)
        results, at = _number(module, at + parameters)
        at += results
        found.append(parameters)
    return found


def _kinds(module: bytes, section: _Section) -> list[int]:
    """Returns the type of each function."""
    count, at = _number(module, section.start)
    found = []
    for _ in range(count):
        kind, at = _number(module, at)
        found.append(kind)
    return found


def _bodies(module: bytes, section: _Section) -> list[tuple[int, int]]:
    """Returns the start and the end of each function's body."""
    count, at = _number(module, section.start)
    found = []
    for _ in range(count):
        size, at = _number(module, at)
        found.append((at, at + size))
        at += size
    return found


def _exports(module: bytes) -> dict[bytes, int]:
    """Returns the exported functions by name."""
    found = {}
    for section in _sections(module, _HEADER_BYTES, len(module)):
        if section.number == _EXPORT:
            count, at = _number(module, section.start)
            for _ in range(count):
                name, at = _text(module, at)
                kind = module[at]
                index, at = _number(module, at + 1)
                if kind == 0:
                    found[name] = index
    return found


def _names(module: bytes) -> dict[int, bytes]:
    """Returns the names of functions, as far as the module contains them."""
    for section in _sections(module, _HEADER_BYTES, len(module)):
        if section.number != _CUSTOM:
            continue
        name, at = _text(module, section.start)
        if name != b"name":
            continue
        for part in _sections(module, at, section.end):
            if part.number == 1:
                found = {}
                count, at = _number(module, part.start)
                for _ in range(count):
                    index, at = _number(module, at)
                    found[index], at = _text(module, at)
                return found
    return {}


def _limits(module: bytes, at: int) -> int:
    """Returns the end of the limits of a table or a memory."""
    flags = module[at]
    _, at = _number(module, at + 1)
    return _number(module, at)[1] if flags & 1 else at


def _text(content: bytes, at: int) -> tuple[bytes, int]:
    size, at = _number(content, at)
    return content[at : at + size], at + size


def _number(content: bytes, at: int) -> tuple[int, int]:
    """Decodes an unsigned number (LEB128), and returns it with its end."""
    value = shift = 0
    while True:
        byte = content[at]
        value |= (byte & 0x7F) << shift
        at, shift = at + 1, shift + 7
        if not byte & 0x80:
            return value, at


def _leb(value: int) -> bytes:
    found = bytearray()
    while value > 0x7F:
        found.append(value & 0x7F | 0x80)
        value >>= 7
    return bytes([*found, value])


def _signed(value: int) -> bytes:
    """Encodes a positive number as a signed one (LEB128)."""
    found = bytearray()
    while value > 0x3F:
        found.append(value & 0x7F | 0x80)
        value >>= 7
    return bytes([*found, value])


def _forms(value: int) -> list[bytes]:
    """Returns a number in its shortest encoding, and in the padded one that linkers use."""
    padded = bytes((value >> 7 * part) & 0x7F | (0x80 if part < 4 else 0) for part in range(5))
    return [_leb(value), padded]
