"""Environment variables of a script: the operator's grants, in `os.environ`.

A script is imported with the variables that are granted then, and may set others, as Django's
`wsgi.py` does. Each instance reads the variables that are granted to it, and keeps what the script
has changed.
"""

from __future__ import annotations

import os

#: What the script has changed while it was imported: the new value, or None for a variable that it
#: removed. None unless variables are read in each instance.
_changes: dict[str, str | None] | None = None


def begin(granted: dict[str, str]) -> dict[str, str]:
    """Sets the variables for the import of a script, and returns all that are set."""
    for name in set(os.environ) - set(granted):
        del os.environ[name]
    os.environ.update(granted)
    return dict(os.environ)


def end(before: dict[str, str]) -> None:
    """Records what the script has changed since `begin`, for the instances that follow."""
    global _changes
    now = dict(os.environ)
    _changes = {name: value for name, value in now.items() if before.get(name) != value}
    _changes.update({name: None for name in before if name not in now})


def refresh() -> None:
    """Reads the variables of this instance, if it begins from an imported script."""
    # Python has the function since 3.14. The sandbox has that, and tests elsewhere may not.
    if _changes is None or not hasattr(os, "reload_environ"):
        return
    # The C library reads the variables of its instance when a function first needs them, and
    # `reload_environ` is not one of them.
    os.unsetenv("WASGI")
    os.reload_environ()
    for name, value in _changes.items():
        if value is None:
            os.environ.pop(name, None)
        else:
            os.environ[name] = value
