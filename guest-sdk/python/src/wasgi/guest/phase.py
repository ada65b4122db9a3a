"""Whether an application is being imported for a snapshot, or requests are served."""

from __future__ import annotations

#: True from the sandbox's set-up until the snapshot. What the server grants is not available then.
#: Outside the sandbox, nothing sets it.
is_loading = False


def begin() -> None:
    """Begins the import of an application."""
    global is_loading
    is_loading = True


def end() -> None:
    """Ends the import: what follows are requests."""
    global is_loading
    is_loading = False
