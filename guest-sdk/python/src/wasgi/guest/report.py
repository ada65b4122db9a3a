"""How the sandbox tells the build why it failed, and what else the user is to know: files beside the
main module.
"""

from __future__ import annotations

import io
import json
import os
import sys
from typing import NoReturn

#: The report's name, in the main module's folder.
FILE_NAME = "wasgi-report.json"

#: Lines for the user where the build succeeds.
NOTES_NAME = "wasgi-notes.txt"

_folder = ""


def begin(folder: str) -> None:
    """Sets the folder of reports. What the application prints meanwhile no longer ends the build
    where componentize-py takes no more of it."""
    global _folder
    _folder = folder
    sys.stdout = _patient(sys.stdout)
    sys.stderr = _patient(sys.stderr)


def note(line: str) -> None:
    """Tells the user something, without ending the build."""
    try:
        with open(f"{_folder}/{NOTES_NAME}", "a", encoding="utf-8") as file:
            file.write(f"{line}\n")
    except OSError:
        return


def fail(line: str, details: str = "") -> NoReturn:
    """Ends the build with one line for the user, and what may help beside it."""
    report = json.dumps({"line": line, "details": details})
    with open(f"{_folder}/{FILE_NAME}", "w", encoding="utf-8") as file:
        file.write(report)
    raise SystemExit(1)


class _Patient(io.RawIOBase):
    """A descriptor that is written to as long as somebody reads."""

    def __init__(self, descriptor: int) -> None:
        self._descriptor = descriptor

    def fileno(self) -> int:
        return self._descriptor

    def writable(self) -> bool:
        return True

    def write(self, block) -> int:
        rest = memoryview(block)
        size = len(rest)
        try:
            while rest:
                rest = rest[os.write(self._descriptor, rest) :]
        except OSError:
            # Nobody reads any more.
            pass
        return size


def _patient(stream) -> io.TextIOWrapper:
    # Not buffered, as Python's own are under PYTHONUNBUFFERED: an instance ends without a flush.
    raw = _Patient(stream.fileno())
    return io.TextIOWrapper(
        raw, "utf-8", "backslashreplace", line_buffering=True, write_through=True
    )
