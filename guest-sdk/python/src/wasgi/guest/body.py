"""Converts an application's return value to the contract's body."""

from __future__ import annotations

from wasgi.guest.exception import record
from wasgi.guest.start_response import checked

#: The maximum length of a block, which is the server's default limit, in bytes. Longer blocks are
#: split.
BLOCK_BYTES = 8 * 1024 * 1024

#: The subject of error messages about a block.
_TAKER = "the application's iterable must yield"


class FileWrapper:
    """``wsgi.file_wrapper``: a file as an iterable of blocks. The server can't send the file
    directly, since handlers have no system files (B6)."""

    def __init__(self, filelike, block_size: int = 64 * 1024) -> None:
        self.filelike = filelike
        self.block_size = block_size
        if hasattr(filelike, "close"):
            self.close = filelike.close

    def __iter__(self) -> "FileWrapper":
        return self

    def __next__(self) -> bytes:
        if block := self.filelike.read(self.block_size):
            return block
        raise StopIteration


class Blocks:
    """An application's iterable as the contract's resource, which returns one block at a time
    (B1)."""

    def __init__(self, iterable) -> None:
        self._iterable = iterable
        self._iterator = None
        self._is_closed = False
        self._rest = b""

    def next(self) -> bytes | None:
        """Returns the next block, or none at the end."""
        from componentize_py_types import Err

        try:
            if self._rest:
                return self._piece(self._rest)
            if self._iterator is None:
                self._iterator = iter(self._iterable)
            for block in self._iterator:
                block = checked(block, _TAKER)
                return block if len(block) <= BLOCK_BYTES else self._piece(memoryview(block))
            return None
        except BaseException as error:
            raise Err(record(error)) from None

    def _piece(self, block: memoryview) -> bytes:
        """Returns the first part of a block that is too long, and keeps the rest for the next
        call."""
        self._rest = block[BLOCK_BYTES:]
        return bytes(block[:BLOCK_BYTES])

    def close(self) -> None:
        """Calls the iterable's ``close`` once, if it has one (B2)."""
        from componentize_py_types import Err

        if self._is_closed:
            return
        self._is_closed = True
        try:
            close = getattr(self._iterable, "close", None)
            if close is not None:
                close()
        except BaseException as error:
            raise Err(record(error)) from None


def body(result) -> object:
    """Converts an application's result to a body.

    A list or tuple of at most one block is sent as a single block, which gives it a Content-Length
    (B4), unless it is too long.

    Raises:
        TypeError: if it is not an iterable of bytes.
    """
    from wit_world.exports import application

    if type(result) in (list, tuple) and len(result) <= 1:
        whole = checked(result[0], _TAKER) if result else b""
        if len(whole) <= BLOCK_BYTES:
            return application.Body_Block(whole)
    if isinstance(result, (str, bytes)):
        # Each of its characters or numbers would be interpreted as a block.
        raise TypeError(
            f"the application must return an iterable of bytes, not {type(result).__name__}: "
            "put it into a list"
        )
    if not hasattr(result, "__iter__") and not hasattr(result, "__getitem__"):
        raise TypeError(
            "the application must return an iterable of bytes, not " + type(result).__name__
        )
    return application.Body_Blocks(Blocks(result))
