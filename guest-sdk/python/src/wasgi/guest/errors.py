"""``wsgi.errors``: a text stream to the server's log."""

from __future__ import annotations

import io


class Errors(io.TextIOBase):
    """Writes go to the log at once; the server puts the handler's name before each line (I5)."""

    encoding = "utf-8"
    errors = "backslashreplace"

    def __init__(self, environ: object) -> None:
        self._environ = environ

    def writable(self) -> bool:
        return True

    def write(self, text: str) -> int:
        if not isinstance(text, str):
            raise TypeError(f"wsgi.errors takes str, not {type(text).__name__}")
        self._environ.write_errors(text.encode(self.encoding, self.errors))
        return len(text)
