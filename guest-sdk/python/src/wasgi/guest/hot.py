"""Moves the code that requests run to adjacent memory. Runs in the sandbox, at the build.

The interpreter writes to the bytecode that it runs: each conditional jump records which way it
went. After an import, functions' code is scattered over memory, so a request would copy a page of
the snapshot for almost each function that it calls.
"""

from __future__ import annotations

import gc
import sys
from collections.abc import Callable
from types import CodeType, FunctionType


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


def gather(hot: list[CodeType]) -> None:
    """Replaces the code of these functions with adjacent copies."""
    functions = [thing for thing in gc.get_objects() if type(thing) is FunctionType]
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
