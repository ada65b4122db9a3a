"""Reports from the sandbox to the build, as files next to the main module: why it failed, and other
information for the user."""

from __future__ import annotations

import io
import json
import os
import sys
from typing import NoReturn

#: The name of the report, in the main module's folder.
FILE_NAME = "wasgi-report.json"

#: The name of the file with lines for the user if the build succeeds.
NOTES_NAME = "wasgi-notes.txt"

_folder = ""


def begin(folder: str) -> None:
    """Sets the folder of reports. From here on, output of the application doesn't end the build
    when componentize-py stops reading it."""
    global _folder
    _folder = folder
    sys.stdout = _patient(sys.stdout)
    sys.stderr = _patient(sys.stderr)


def note(line: str) -> None:
    """Prints a line for the user, without ending the build."""
    try:
        with open(f"{_folder}/{NOTES_NAME}", "a", encoding="utf-8") as file:
            file.write(f"{line}\n")
    except OSError:
        return


def fail(line: str, details: str = "") -> NoReturn:
    """Ends the build with one line for the user, and optional details."""
    report = json.dumps({"line": line, "details": details})
    with open(f"{_folder}/{FILE_NAME}", "w", encoding="utf-8") as file:
        file.write(report)
    raise SystemExit(1)


class _Patient(io.RawIOBase):
    """A descriptor that ignores writes after its reader has gone."""

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
            # The reader has gone.
            pass
        return size


def _patient(stream) -> io.TextIOWrapper:
    # Unbuffered, like Python's own streams with PYTHONUNBUFFERED: an instance ends without a flush.
    raw = _Patient(stream.fileno())
    return io.TextIOWrapper(
        raw, "utf-8", "backslashreplace", line_buffering=True, write_through=True
    )
