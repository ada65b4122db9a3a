"""Converts exceptions to the contract's record of three texts."""

from __future__ import annotations

import traceback
from types import TracebackType

#: The maximum length of each text, in characters: the server logs less, and accepts 1 MiB in total.
_TEXT_LENGTH = 32 * 1024

#: The folder of this package, whose frames don't help an application's author.
_OWN_FOLDER = __file__.rpartition("/")[0] + "/"


def record(error: BaseException) -> object:
    """Returns the record of an exception: its class, its message, and the traceback of it and its
    causes, as Python prints them."""
    from wit_world.imports import gateway

    return gateway.Exception(
        kind=_name(type(error))[:_TEXT_LENGTH],
        message=_message(error)[:_TEXT_LENGTH],
        traceback=_traceback(error)[:_TEXT_LENGTH],
    )


def _name(kind: type[BaseException]) -> str:
    """Returns a class's name as in a traceback: ``ValueError``,
    ``jinja2.exceptions.TemplateNotFound``."""
    if kind.__module__ in ("builtins", "__main__"):
        return kind.__qualname__
    return f"{kind.__module__}.{kind.__qualname__}"


def _message(error: BaseException) -> str:
    try:
        return str(error)
    except Exception:
        return "<the message can't be formatted>"


def _traceback(error: BaseException) -> str:
    try:
        places = _without_own(error.__traceback__)
        lines = traceback.format_exception(type(error), error, places)
    except Exception:
        # For a broken __str__ or an exhausted stack, print only the frames.
        lines = traceback.format_tb(error.__traceback__)
    return "".join(lines).rstrip("\n")


def _without_own(places: TracebackType | None) -> TracebackType | None:
    """Removes this package's frames before the application's first one."""
    first = places
    while first is not None and first.tb_frame.f_code.co_filename.startswith(_OWN_FOLDER):
        first = first.tb_next
    return first or places
