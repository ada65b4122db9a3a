"""``wsgi.errors``: a text stream that writes to the server's log."""

from __future__ import annotations

import io


#: The maximum length of one call's text, in bytes: the server accepts 1 MiB, and logs less than
#: that for a request.
_PIECE_BYTES = 64 * 1024


class Errors(io.TextIOBase):
    """Logs each write at once; the server puts the handler's name before each line (I5)."""

    encoding = "utf-8"
    errors = "backslashreplace"

    def __init__(self, environ: object) -> None:
        self._environ = environ

    def writable(self) -> bool:
        return True

    def write(self, text: str) -> int:
        if not isinstance(text, str):
            raise TypeError(f"wsgi.errors takes str, not {type(text).__name__}")
        encoded = text.encode(self.encoding, self.errors)
        for start in range(0, len(encoded), _PIECE_BYTES):
            self._environ.write_errors(encoded[start : start + _PIECE_BYTES])
        return len(text)
