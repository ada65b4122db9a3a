"""Why an operation in a bucket has failed."""

from __future__ import annotations


class Error(Exception):
    """An operation in a bucket has failed. The text is one line."""


class AccessDenied(Error):
    """The bucket is not granted to this handler. The server's log says how to grant it."""


class NoSuchStore(Error):
    """The server has no such store."""


class LimitExceeded(Error):
    """A key, a value, a batch or the bucket is larger than the server allows."""


class NotANumber(Error, ValueError):
    """The value is not a number, or the sum is beyond the range of 64 bits."""


class Unavailable(Error):
    """The store can't be used now. A write may have been executed or not."""


#: Parts of the server's messages, by the error that they are.
_TEXTS = (
    ("the limit is", LimitExceeded),
    ("the bucket is full", LimitExceeded),
    ("is not a number", NotANumber),
    ("beyond the range", NotANumber),
)


def of_text(text: str) -> Error:
    """Returns the error of a message of the server."""
    for part, error in _TEXTS:
        if part in text:
            return error(text)
    return Unavailable(text)
