"""``start_response`` and the ``write`` callable that it returns."""

from __future__ import annotations

import errno

from wasgi.guest.exception import record

#: The maximum length of a block that ``write`` passes in one call, in bytes. The server accepts 1
#: MiB.
_PIECE_BYTES = 512 * 1024


class StartResponse:
    """Begins the response: ``start_response(status, headers, exc_info=None)``."""

    def __init__(self, start_response: object) -> None:
        self._start_response = start_response

    def __call__(self, status, headers, exc_info=None):
        """Sets the status and the fields, and sends nothing (R2). Returns ``write``.

        Raises:
            TypeError, ValueError: if the status or a field is not allowed (R1).
            AssertionError: if it was called before, and ``exc_info`` is missing (R3).
            Exception: the one in ``exc_info``, if the head has been sent (R3).
        """
        from componentize_py_types import Err

        try:
            # As in the PEP's example, a false value means none: `()`, `False`.
            cause = _exception(exc_info) if exc_info else None
            exception = None if cause is None else record(cause)
            fields = _fields(headers)
            if not isinstance(status, str):
                raise TypeError(f"the status must be str, not {type(status).__name__}")
            line = _latin_1("the status", status)
            refusal = None
            try:
                self._start_response.call(line, fields, exception)
            except Err as error:
                refusal = error.value
            if refusal is not None:
                # Raised outside of the handler, so that the traceback doesn't contain the
                # contract's error.
                self._refuse(refusal, cause, exc_info)
        finally:
            # A frame that refers to its own traceback is a cycle.
            exc_info = cause = None
        return self.write

    def write(self, block: bytes) -> None:
        """Sends a block before those that the application returns (R4)."""
        from componentize_py_types import Err

        block = checked(block, "write() takes")
        try:
            if len(block) <= _PIECE_BYTES:
                self._start_response.write(block)
                return
            for start in range(0, len(block), _PIECE_BYTES):
                self._start_response.write(block[start : start + _PIECE_BYTES])
        except Err as error:
            if getattr(error.value, "name", "") == "NOT_STARTED":
                raise AssertionError("write() was called before start_response()") from None
            raise BrokenPipeError(errno.EPIPE, "the client disconnected") from None

    @staticmethod
    def _refuse(error: object, cause: BaseException | None, exc_info) -> None:
        kind = type(error).__name__
        if kind == "StartError_AlreadyStarted":
            raise AssertionError(
                "start_response() was already called, and this call has no exc_info"
            )
        if kind == "StartError_HeadSent":
            places = exc_info[2] if isinstance(exc_info, tuple) else None
            raise cause.with_traceback(places or cause.__traceback__)
        raise ValueError(getattr(error, "value", str(error)))


def _exception(exc_info) -> BaseException:
    """Returns the exception of a triple as from `sys.exc_info()`, whose second item may be missing.
    If all are missing, as outside of an `except`, returns an exception that says so."""
    if isinstance(exc_info, BaseException):
        return exc_info
    if not isinstance(exc_info, tuple) or len(exc_info) != 3:
        raise TypeError(f"exc_info must be sys.exc_info(), not {exc_info!r:.100}")
    kind, value, _ = exc_info
    if isinstance(value, BaseException):
        return value
    if isinstance(kind, type) and issubclass(kind, BaseException):
        return kind() if value is None else kind(value)
    return RuntimeError("start_response() was called with an exc_info that has no exception")


def checked(block: object, taker: str) -> bytes:
    """Returns a block as bytes. Rejects str with a message that says what to do."""
    if isinstance(block, bytes):
        return block
    if isinstance(block, (bytearray, memoryview)):
        return bytes(block)
    hint = " (encode it first)" if isinstance(block, str) else ""
    raise TypeError(f"{taker} bytes, not {type(block).__name__}{hint}")


def _fields(headers) -> list[tuple[str, bytes]]:
    fields = []
    for field in headers:
        try:
            name, value = field
        except (TypeError, ValueError):
            raise TypeError(f"a header must be a tuple (name, value), not {field!r}") from None
        if not isinstance(name, str) or not isinstance(value, str):
            raise TypeError(f"name and value of a header must be str: {field!r}")
        fields.append((name, _latin_1(f"the value of header {name}", value)))
    return fields


def _latin_1(what: str, text: str) -> bytes:
    """Returns the bytes of a native string (PEP 3333, "A Note On String Types")."""
    try:
        return text.encode("iso-8859-1")
    except UnicodeEncodeError:
        raise ValueError(f"{what} contains a character that is not ISO-8859-1: {text!r}") from None
