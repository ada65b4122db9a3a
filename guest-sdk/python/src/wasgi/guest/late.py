"""Changes modules when they are imported, so that the cost arises only if they are used."""

from __future__ import annotations

import importlib.util
import sys
from collections.abc import Callable
from types import ModuleType


def change(changes: dict[str, Callable[[ModuleType], None]]) -> None:
    """Changes each module with its function: at once if it is already imported, otherwise when its
    loader has run it."""
    waiting = {}
    for name, function in changes.items():
        if module := sys.modules.get(name):
            function(module)
        else:
            waiting[name] = function
    sys.meta_path.insert(0, _Changer(waiting))


class _Changer:
    """A finder that finds each of its modules once."""

    def __init__(self, changes: dict[str, Callable[[ModuleType], None]]) -> None:
        self._changes = changes

    def find_spec(self, name, path=None, target=None):
        function = self._changes.pop(name, None)
        if function is None:
            return None
        # This finder no longer finds the name, so the other finders are used.
        spec = importlib.util.find_spec(name)
        if spec is None or spec.loader is None:
            return None
        run = spec.loader.exec_module

        def exec_module(module) -> None:
            run(module)
            function(module)

        spec.loader.exec_module = exec_module
        return spec
