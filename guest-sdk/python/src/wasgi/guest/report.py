"""How the sandbox tells the build why it failed: one marked line on standard error."""

from __future__ import annotations

import json
import sys
from typing import NoReturn

#: Stands before the line. Nobody else writes this.
MARK = "wasgi-build-failed: "


def fail(line: str, details: str = "") -> NoReturn:
    """Ends the build with one line for the user, and what may help beside it."""
    report = json.dumps({"line": line, "details": details})
    sys.stderr.write(f"\n{MARK}{report}\n")
    sys.stderr.flush()
    raise SystemExit(1)
