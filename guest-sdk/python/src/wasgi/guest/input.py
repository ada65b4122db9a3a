"""``wsgi.input``: the request's body as a file object."""

from __future__ import annotations

import errno
import io

#: What one call asks the server for, in bytes: the most that it gives at a time.
BLOCK_BYTES = 64 * 1024


class InputError(OSError):
    """The rest of the request's body can't be had, and why."""


class _Raw(io.RawIOBase):
    """The contract's ``read``, as the raw stream below a buffered one."""

    def __init__(self, environ: object) -> None:
        self._environ = environ

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: memoryview) -> int:
        block = self._read(len(buffer))
        buffer[: len(block)] = block
        return len(block)

    def readall(self) -> bytes:
        blocks = []
        while block := self._read(BLOCK_BYTES):
            blocks.append(block)
        return b"".join(blocks)

    def _read(self, size: int) -> bytes:
        from componentize_py_types import Err

        try:
            return self._environ.read(size)
        except Err as error:
            raise _reason(error.value) from None


def wsgi_input(environ: object) -> io.BufferedReader:
    """A file object with ``read``, ``readline``, ``readlines`` and iteration (I1).

    ``read(n)`` waits for ``n`` bytes or the body's end, as a file does. Nothing is read before
    the application asks (I3), and no more ahead than one call of the server returns (I4).
    """
    return io.BufferedReader(_Raw(environ), BLOCK_BYTES)


def _reason(error: object) -> OSError:
    name = getattr(error, "name", "")
    if name == "DISCONNECTED":
        return ConnectionAbortedError(
            errno.ECONNABORTED, "the client went away before it had sent the whole body"
        )
    if name == "TIMED_OUT":
        return TimeoutError(errno.ETIMEDOUT, "the client stopped sending the body")
    if name == "TOO_LARGE":
        return InputError(errno.EFBIG, "the body is longer than the server accepts")
    return InputError(errno.EINVAL, "the body's framing is broken")
