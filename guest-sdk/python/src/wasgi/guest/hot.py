"""Moves the code that requests run to adjacent memory. Runs in the sandbox, at the build.

The interpreter writes to the bytecode that it runs: each conditional jump records which way it
went. After an import, functions' code is scattered over memory, so a request would copy a page of
the snapshot for almost each function that it calls.
"""

from __future__ import annotations

import gc
import os
import sys
import weakref
from array import array
from bisect import bisect_left
from collections.abc import Callable, Iterator
from types import CodeType, FunctionType


# The functions before each `gc.freeze`: the addresses of their code and of the code within it in
# ascending order, and the function of each. A dictionary would take ten times the memory, of each
# script.
_remembered: list[tuple[array, list[FunctionType]]] = []


def observe(run: Callable[[], None]) -> list[CodeType]:
    """Returns the code that runs during a call."""
    seen: dict[int, CodeType] = {}

    def note(frame, event, argument) -> None:
        seen[id(frame.f_code)] = frame.f_code

    sys.setprofile(note)
    try:
        run()
    finally:
        sys.setprofile(None)
    return list(seen.values())


def binding() -> list[CodeType]:
    """Returns the code that runs for each request of a server and can't run without one."""
    from componentize_py_types import Ok
    from wit_world.imports.gateway import Environ, StartResponse

    functions = [Environ.variables, Environ.get, StartResponse.call, Ok.__init__]
    functions += [weakref.finalize.__init__, weakref.finalize.__call__]
    functions.append(getattr(os, "reload_environ", None))
    return [function.__code__ for function in functions if type(function) is FunctionType]


def remember() -> None:
    """Notes the current functions, for `gather` after `gc.freeze`: the collector no longer lists
    them."""
    owners = [(id(code), function) for function in _functions() for code in _all(function.__code__)]
    owners.sort(key=lambda owner: owner[0])
    _remembered.append((array("Q", [code for code, _ in owners]), [owner for _, owner in owners]))


def gather(hot: list[CodeType]) -> None:
    """Replaces the code of these functions with adjacent copies."""
    functions = _functions()
    for codes, owners in _remembered:
        for code in hot:
            at = bisect_left(codes, id(code))
            while at < len(codes) and codes[at] == id(code):
                functions.append(owners[at])
                at += 1
    # Identified by identity: equal code may belong to functions that are not hot.
    wanted = {id(code) for code in hot}
    copies: dict[int, CodeType] = {}
    # Copied first, so that no other allocation lies between them.
    for code in hot:
        _copied(code, wanted, copies)
    for function in functions:
        code = function.__code__
        if (copy := _copied(code, wanted, copies)) is not code:
            function.__code__ = copy


def _functions() -> list[FunctionType]:
    return [thing for thing in gc.get_objects() if type(thing) is FunctionType]


def _all(code: CodeType) -> Iterator[CodeType]:
    """Yields code and all code within it."""
    yield code
    for constant in code.co_consts:
        if isinstance(constant, CodeType):
            yield from _all(constant)


def _copied(code: CodeType, wanted: set[int], copies: dict[int, CodeType]) -> CodeType:
    """Returns a copy of code that is wanted or contains wanted code, and other code unchanged."""
    if id(code) not in copies:
        constants = tuple(
            _copied(constant, wanted, copies) if isinstance(constant, CodeType) else constant
            for constant in code.co_consts
        )
        is_changed = any(new is not old for new, old in zip(constants, code.co_consts))
        if is_changed:
            copies[id(code)] = code.replace(co_consts=constants)
        else:
            copies[id(code)] = code.replace() if id(code) in wanted else code
    return copies[id(code)]
