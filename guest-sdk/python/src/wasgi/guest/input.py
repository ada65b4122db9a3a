"""``wsgi.input``: the request's body as a file object."""

from __future__ import annotations

import errno
import io

#: The number of bytes that one call requests, which is the maximum that the server returns.
BLOCK_BYTES = 64 * 1024


class InputError(OSError):
    """The rest of the request's body can't be read. The message says why."""


class _Raw(io.RawIOBase):
    """The contract's ``read``, as the raw stream of a buffered one."""

    def __init__(self, environ: object) -> None:
        self._environ = environ
        self._bytes_read = 0

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: memoryview) -> int:
        block = self._read(len(buffer))
        buffer[: len(block)] = block
        return len(block)

    def readall(self) -> bytes:
        first = self._read(BLOCK_BYTES)
        # If the length is known, the body is read into one buffer without a copy.
        rest = self._length() - self._bytes_read
        body = io.BytesIO(bytes(len(first) + rest) if first and rest > 0 else b"")
        body.write(first)
        while block := self._read(BLOCK_BYTES):
            body.write(block)
        body.truncate()
        return body.getvalue()

    def _length(self) -> int:
        """Returns the body's length, or 0 if it is unknown."""
        length = self._environ.get("CONTENT_LENGTH") or b""
        return int(length) if length.isdigit() else 0

    def _read(self, size: int) -> bytes:
        from componentize_py_types import Err

        try:
            block = self._environ.read(size)
        except Err as error:
            raise _reason(error.value) from None
        self._bytes_read += len(block)
        return block


def wsgi_input(environ: object) -> io.BufferedReader:
    """Returns a file object with ``read``, ``readline``, ``readlines`` and iteration (I1).

    ``read(n)`` waits for ``n`` bytes or the body's end, as for a file. Nothing is read before the
    application requests it (I3), and at most the result of one server call is read ahead (I4).
    """
    return io.BufferedReader(_Raw(environ), BLOCK_BYTES)


def _reason(error: object) -> OSError:
    name = getattr(error, "name", "")
    if name == "DISCONNECTED":
        return ConnectionAbortedError(
            errno.ECONNABORTED, "the client disconnected before it sent the whole body"
        )
    if name == "TIMED_OUT":
        return TimeoutError(errno.ETIMEDOUT, "the client stopped sending the body")
    if name == "TOO_LARGE":
        return InputError(errno.EFBIG, "the body is longer than the server accepts")
    return InputError(errno.EINVAL, "the body's framing is invalid")
