"""Changes modules when somebody imports them, and not before: nobody else pays for them."""

from __future__ import annotations

import importlib.util
import sys
from collections.abc import Callable
from types import ModuleType


def change(changes: dict[str, Callable[[ModuleType], None]]) -> None:
    """Has each module changed by its function: at once if it is imported already, or else when its
    own loader has run it."""
    waiting = {}
    for name, function in changes.items():
        if module := sys.modules.get(name):
            function(module)
        else:
            waiting[name] = function
    sys.meta_path.insert(0, _Changer(waiting))


class _Changer:
    """A finder that has an answer for each of its modules once."""

    def __init__(self, changes: dict[str, Callable[[ModuleType], None]]) -> None:
        self._changes = changes

    def find_spec(self, name, path=None, target=None):
        function = self._changes.pop(name, None)
        if function is None:
            return None
        # This finder no longer has an answer for the name, so the others give theirs.
        spec = importlib.util.find_spec(name)
        if spec is None or spec.loader is None:
            return None
        run = spec.loader.exec_module

        def exec_module(module) -> None:
            run(module)
            function(module)

        spec.loader.exec_module = exec_module
        return spec
