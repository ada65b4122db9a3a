"""The layer of packages: modules that are imported before the application, which then finds them.

A layer is created once for each change of the installed packages, and each load of the application
starts with it. An import statement has the same effect with and without a layer: a module of the
layer is neither in `sys.modules` nor an attribute of its parent until it is imported; then the
modules that its own import would have imported are too.
"""

from __future__ import annotations

import builtins
import importlib
import os
import sys
from collections.abc import Iterable
from importlib import _bootstrap
from importlib.machinery import ModuleSpec

#: The maximum number of modules in a layer. Django's demo has 400.
NAMES_MAX = 5_000

#: The maximum length of a module's name in a layer, in characters.
NAME_LENGTH_MAX = 200


class Layer:
    """A finder of modules that were imported in advance."""

    def __init__(self) -> None:
        #: All modules that were to be imported, whether that succeeded or not.
        self.names: list[str] = []
        self._waiting: dict = {}
        # The modules that each module has imported.
        self._needs: dict[str, set[str]] = {}
        # The modules that were attributes of their parents.
        self._bound: set[str] = set()
        # The top-level names that were searched and not found.
        self._absent: set[str] = set()
        self._is_refused = False

    def take(self, names: Iterable[str], folder: str) -> None:
        """Imports these modules, and sets aside those from `folder`. Modules that can't be imported
        without the application are left to it."""
        self.names = list(names)
        before = set(sys.modules)
        with _Recorder(self._needs, self._absent):
            for name in self.names:
                try:
                    importlib.import_module(name)
                except (Exception, SystemExit):
                    continue
        new = [name for name in sys.modules if name not in before]
        roots = {_root(name) for name in new if _is_from(sys.modules[name], folder)}
        self._waiting = {name: sys.modules.pop(name) for name in new if _root(name) in roots}
        for name, module in self._waiting.items():
            parent, _, child = name.rpartition(".")
            if not parent:
                continue
            attributes = _attributes(self._waiting.get(parent, sys.modules.get(parent)))
            if attributes.get(child) is module:
                del attributes[child]
                self._bound.add(name)
            if _attributes(module).get("__spec__") is None:
                # Created by its parent, rather than found.
                self._needs.setdefault(parent, set()).add(name)

    def offer(self, application: str) -> None:
        """Makes imports find the modules, unless the application's folder contains a module that an
        import of one of them didn't find."""
        names = {name.removesuffix(".py") for name in os.listdir(application)}
        if self._absent & names:
            self._is_refused = True
        elif self._waiting:
            sys.meta_path.insert(0, self)

    def wanted(self, folders: tuple[str, ...]) -> list[str]:
        """Returns the modules of the next layer: all modules from these folders, in the order of
        their imports. Returns none if this layer has already tried all of them, can't be used, or
        would have too many."""
        known = set(self.names)
        new = [
            name for name, module in sys.modules.items()
            if name not in known
            and len(name) <= NAME_LENGTH_MAX
            and any(_is_from(module, folder) for folder in folders)
        ]  # fmt: skip
        names = [*self.names, *new]
        return names if new and not self._is_refused and len(names) <= NAMES_MAX else []

    def find_spec(self, name, path=None, target=None):
        """Finds a module of the layer that has not been imported yet."""
        module = self._waiting.get(name)
        if module is None:
            return None
        known = _attributes(module).get("__spec__")
        spec = ModuleSpec(name, self, origin=getattr(known, "origin", None))
        spec.submodule_search_locations = getattr(known, "submodule_search_locations", None)
        spec.loader_state = known
        return spec

    def create_module(self, spec):
        """Returns the module, and adds it and its dependencies to the imported modules."""
        module = self._waiting[spec.name]
        self._admit(spec.name)
        return module

    def exec_module(self, module) -> None:
        """Does nothing: the module has already been executed."""
        known = module.__spec__.loader_state
        if known is not None:
            module.__spec__ = known

    def _admit(self, name: str) -> None:
        todo = [name]
        while todo:
            name = todo.pop()
            module = self._waiting.pop(name, None)
            if module is None:
                continue
            sys.modules[name] = module
            parent, _, child = name.rpartition(".")
            if parent:
                todo.append(parent)
                if name in self._bound:
                    holder = self._waiting.get(parent, sys.modules.get(parent))
                    _attributes(holder)[child] = module
            todo.extend(self._needs.get(name, ()))


class _Recorder:
    """Records which module imports which, while it is active."""

    def __init__(self, needs: dict[str, set[str]], absent: set[str]) -> None:
        self._needs = needs
        self._absent = absent

    def __enter__(self) -> "_Recorder":
        self._import = builtins.__import__
        builtins.__import__ = self._imported
        sys.meta_path.insert(0, self)
        return self

    def __exit__(self, *_) -> None:
        builtins.__import__ = self._import
        sys.meta_path.remove(self)

    def find_spec(self, name, path=None, target=None):
        """Records a first import of any kind for the module whose body is running."""
        frame = sys._getframe(1)
        while frame is not None and frame.f_code.co_name != "<module>":
            frame = frame.f_back
        if frame is not None:
            self._note(frame.f_globals.get("__name__"), name)
        return None

    def _imported(self, name, globals=None, locals=None, fromlist=(), level=0):
        try:
            module = self._import(name, globals, locals, fromlist, level)
        except ModuleNotFoundError as error:
            if error.name:
                self._absent.add(_root(error.name))
            raise
        if globals is not None:
            importer = globals.get("__name__")
            if level:
                package = _bootstrap._calc___package__(globals)
                name = _bootstrap._resolve_name(name, package, level)
            self._note(importer, name)
            for attribute in fromlist or ():
                if attribute == "*":
                    # `__all__` may contain the names of modules.
                    for exported in getattr(module, "__all__", ()):
                        self._note(importer, f"{name}.{exported}")
                else:
                    self._note(importer, f"{name}.{attribute}")
        return module

    def _note(self, importer, name: str) -> None:
        if isinstance(importer, str):
            self._needs.setdefault(importer, set()).add(name)


def _root(name: str) -> str:
    return name.partition(".")[0]


def _attributes(module) -> dict:
    """Returns a module's own names. `getattr` could initialize a lazy object that replaces a
    module."""
    return getattr(module, "__dict__", {})


def _is_from(module, folder: str) -> bool:
    """Returns whether a module's file, or one of the folders that it represents, is in a folder."""
    spec = _attributes(module).get("__spec__")
    places = [getattr(spec, "origin", None)]
    places += getattr(spec, "submodule_search_locations", None) or ()
    return any(isinstance(place, str) and place.startswith(f"{folder}/") for place in places)
