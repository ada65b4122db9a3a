"""Live exceptions as the contract's record of three texts."""

from __future__ import annotations

import traceback
from types import TracebackType

#: What is passed of a text, in characters: the server logs less, and takes a megabyte of all.
_TEXT_LENGTH = 32 * 1024

#: Files of this package: their places in a traceback say nothing to an application's author.
_OWN_FOLDER = __file__.rpartition("/")[0] + "/"


def record(error: BaseException) -> object:
    """What the server is told of an exception: its class, its message, and the traceback of it
    and its causes as Python prints them."""
    from wit_world.imports import gateway

    return gateway.Exception(
        kind=_name(type(error))[:_TEXT_LENGTH],
        message=_message(error)[:_TEXT_LENGTH],
        traceback=_traceback(error)[:_TEXT_LENGTH],
    )


def _name(kind: type[BaseException]) -> str:
    """``ValueError``, and ``jinja2.exceptions.TemplateNotFound``: as in a traceback."""
    if kind.__module__ in ("builtins", "__main__"):
        return kind.__qualname__
    return f"{kind.__module__}.{kind.__qualname__}"


def _message(error: BaseException) -> str:
    try:
        return str(error)
    except Exception:
        return "<its message can't be had>"


def _traceback(error: BaseException) -> str:
    try:
        places = _without_own(error.__traceback__)
        lines = traceback.format_exception(type(error), error, places)
    except Exception:
        # A broken __str__ or an exhausted stack: better the bare places than none.
        lines = traceback.format_tb(error.__traceback__)
    return "".join(lines).rstrip("\n")


def _without_own(places: TracebackType | None) -> TracebackType | None:
    """Without the places of this package before the application's first one."""
    first = places
    while first is not None and first.tb_frame.f_code.co_filename.startswith(_OWN_FOLDER):
        first = first.tb_next
    return first or places
