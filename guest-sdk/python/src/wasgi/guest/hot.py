"""Brings the code that requests run together in memory. Runs in the sandbox while a component is
built.

The interpreter writes into the bytecode that it runs: each conditional jump keeps a history of
where it went. An import leaves a function's code wherever there was room, so that a request would
copy a page of the snapshot for nearly each function it calls.
"""

from __future__ import annotations

import gc
import sys
from collections.abc import Callable
from types import CodeType, FunctionType


def observe(run: Callable[[], None]) -> list[CodeType]:
    """The code that runs meanwhile."""
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
    """Gives the functions of this code a copy of it, one behind the other."""
    functions = [thing for thing in gc.get_objects() if type(thing) is FunctionType]
    # By identity: equal code may belong to functions that are not.
    wanted = {id(code) for code in hot}
    copies: dict[int, CodeType] = {}
    # These first, so that what follows does not come between.
    for code in hot:
        _copied(code, wanted, copies)
    for function in functions:
        code = function.__code__
        if (copy := _copied(code, wanted, copies)) is not code:
            function.__code__ = copy


def _copied(code: CodeType, wanted: set[int], copies: dict[int, CodeType]) -> CodeType:
    """A copy of code that is wanted, or has such code within; other code as it is."""
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
