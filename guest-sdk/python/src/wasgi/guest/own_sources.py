"""The modules of an application's folder, as they were when the application was loaded.

A request starts from the state after the import, and may import further modules. A file that was
saved in the meantime belongs to the next version of the application, which is being loaded or can't
be loaded. So all sources are read before the import, and every import finds those.
"""

from __future__ import annotations

import os
import sys
from importlib.machinery import ModuleSpec, SourceFileLoader
from importlib.util import spec_from_file_location

#: The maximum size of all sources of an application, in bytes, and their maximum number. They are
#: part of the application's state. Larger applications import from their folder, and so do those
#: with modules that have no source.
TOTAL_BYTES_MAX = 4 << 20
FILES_MAX = 2_000

#: The maximum depth of nested folders.
_DEPTH_MAX = 64

#: Folders without modules of the application, in addition to those whose names begin with a dot.
_SKIPPED = frozenset(("__pycache__", "node_modules"))

_SUFFIX = ".py"

#: The suffixes of modules without sources.
_COMPILED = (".pyc", ".so")


class OwnSources:
    """The sources in a folder, by their paths."""

    def __init__(self) -> None:
        self._sources: dict[str, bytes] = {}
        # Time and size of each source, as `SourceLoader` compares them with compiled files.
        self._stats: dict[str, dict] = {}
        #: The names in each folder: of modules without their suffix, and of folders.
        self.modules: dict[str, set[str]] = {}
        self.folders: dict[str, set[str]] = {}
        self._bytes = 0

    @classmethod
    def read(cls, folder: str) -> OwnSources | None:
        """Reads all sources in a folder. Returns none if they exceed a limit, or a module has no
        source."""
        sources = cls()
        return sources if sources._read_folder(folder, ()) else None

    def install(self) -> None:
        """Makes imports from the folder find these sources."""
        sys.path_hooks.insert(0, self._finder)
        for path in self.modules:
            sys.path_importer_cache.pop(path, None)

    def loader(self, name: str, path: str) -> SourceFileLoader:
        return _Loader(name, path, self)

    def source(self, path: str) -> bytes | None:
        """Returns the source at a path, if it is one."""
        return self._sources.get(path)

    def stats(self, path: str) -> dict:
        return self._stats[path]

    def _finder(self, path: str) -> _Finder:
        if path not in self.modules:
            raise ImportError("not a folder of the application", path=path)
        return _Finder(self, path)

    def _read_folder(self, folder: str, above: tuple) -> bool:
        modules = self.modules[folder] = set()
        folders = self.folders[folder] = set()
        # What can't be read now could not have been imported either.
        try:
            status = os.stat(folder)
            with os.scandir(folder) as entries:
                entries = list(entries)
        except OSError:
            return True
        # Identified by device and inode: a link may lead back to a parent folder.
        here = (status.st_dev, status.st_ino)
        if here in above or len(above) > _DEPTH_MAX:
            return True
        for entry in entries:
            name, path = entry.name, f"{folder}/{entry.name}"
            if name.startswith(".") or name in _SKIPPED:
                continue
            if name.endswith(_SUFFIX):
                try:
                    content, status = _content(path)
                except OSError:
                    continue
                self._sources[path] = content
                self._stats[path] = {"mtime": status.st_mtime, "size": len(content)}
                self._bytes += len(content)
                if self._bytes > TOTAL_BYTES_MAX or len(self._sources) > FILES_MAX:
                    return False
                modules.add(name.removesuffix(_SUFFIX))
            elif name.endswith(_COMPILED):
                return False
            elif entry.is_dir() and not os.path.exists(f"{path}/pyvenv.cfg"):
                folders.add(name)
                if not self._read_folder(path, (*above, here)):
                    return False
        return True


class _Finder:
    """Finds the modules in one folder, for `PathFinder`."""

    def __init__(self, sources: OwnSources, path: str) -> None:
        self._sources = sources
        self._path = path

    def find_spec(self, fullname: str, target=None) -> ModuleSpec | None:
        name = fullname.rpartition(".")[2]
        is_folder = name in self._sources.folders[self._path]
        folder = f"{self._path}/{name}"
        if is_folder and "__init__" in self._sources.modules[folder]:
            return self._spec(fullname, f"{folder}/__init__{_SUFFIX}", [folder])
        if name in self._sources.modules[self._path]:
            return self._spec(fullname, f"{folder}{_SUFFIX}", None)
        if is_folder:
            # A part of a namespace package.
            spec = ModuleSpec(fullname, None)
            spec.submodule_search_locations = [folder]
            return spec
        return None

    def iter_modules(self, prefix: str = ""):
        """Yields the names of all modules, for `pkgutil.iter_modules`."""
        sources = self._sources
        packages = {
            name for name in sources.folders[self._path]
            if "__init__" in sources.modules[f"{self._path}/{name}"]
        }  # fmt: skip
        for name in sorted(packages | sources.modules[self._path] - {"__init__"}):
            # Django's migrations have names that aren't identifiers, such as `0001_initial`.
            if "." not in name:
                yield prefix + name, name in packages

    def _spec(self, name: str, path: str, locations: list[str] | None) -> ModuleSpec | None:
        loader = self._sources.loader(name, path)
        return spec_from_file_location(
            name, path, loader=loader, submodule_search_locations=locations
        )


class _Loader(SourceFileLoader):
    """Loads a module from its source in memory."""

    def __init__(self, fullname: str, path: str, sources: OwnSources) -> None:
        super().__init__(fullname, path)
        self._sources = sources

    def get_data(self, path):
        source = self._sources.source(path)
        return super().get_data(path) if source is None else source

    def path_stats(self, path):
        return self._sources.stats(path)


def _content(path: str) -> tuple[bytes, os.stat_result]:
    with open(path, "rb") as file:
        # Read no more than the limit, however much there is.
        return file.read(TOTAL_BYTES_MAX + 1), os.fstat(file.fileno())
