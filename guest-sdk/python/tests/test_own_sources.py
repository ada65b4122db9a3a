"""An application imports its modules as they were when it was loaded."""

import importlib
import os
import pkgutil
import shutil
import sys
import tempfile
import unittest
from pathlib import Path

import fakes  # noqa: F401 (puts the package on the path)

from wasgi.guest import own_sources
from wasgi.guest.own_sources import OwnSources

FILES = {
    "own_single.py": "text = 'single'\n",
    "own_package/__init__.py": "text = 'package'\n",
    "own_package/inner.py": "from . import beside\ntext = 'inner'\n",
    "own_package/beside.py": "",
    "own_package/0001_initial.py": "text = 'first'\n",
    "own_package/no.module.py": "",
    "own_package/own-folder/__init__.py": "",
    "own_spaces/part.py": "text = 'part'\n",
    "own_spaces/.hidden/module.py": "",
    "static/page.html": "",
}


class OwnModules(unittest.TestCase):
    def setUp(self):
        self.folder = tempfile.mkdtemp()
        self.addCleanup(shutil.rmtree, self.folder)
        before = sys.path[:], sys.path_hooks[:], set(sys.modules)
        self.addCleanup(self.restore, *before)
        self.write(FILES)
        sys.path.insert(0, self.folder)

    def restore(self, path, hooks, modules):
        sys.path[:], sys.path_hooks[:] = path, hooks
        for name in set(sys.modules) - modules:
            del sys.modules[name]
        importlib.invalidate_caches()
        for place in [key for key in sys.path_importer_cache if key.startswith(self.folder)]:
            del sys.path_importer_cache[place]

    def write(self, files):
        for name, content in files.items():
            path = Path(self.folder, name)
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(content, encoding="utf-8")

    def install(self):
        OwnSources.read(self.folder).install()

    def text(self, name):
        return importlib.import_module(name).text

    def test_a_file_that_is_saved_after_the_load_is_of_the_next_version(self):
        self.install()
        self.write({name: "text = 'new'\n" for name in FILES if name.endswith(".py")})
        for name, expected in (
            ("own_single", "single"),
            ("own_package", "package"),
            ("own_package.inner", "inner"),
            ("own_spaces.part", "part"),
        ):
            self.assertEqual(self.text(name), expected)

    def test_a_file_that_is_removed_after_the_load_is_still_imported(self):
        self.install()
        os.unlink(f"{self.folder}/own_single.py")
        os.unlink(f"{self.folder}/own_spaces/part.py")
        self.assertEqual(self.text("own_single"), "single")
        self.assertEqual(self.text("own_spaces.part"), "part")

    def test_a_file_that_is_added_after_the_load_is_not_imported(self):
        self.install()
        self.write({"own_other.py": "", "own_package/more.py": "", "own_more/__init__.py": ""})
        for name in ("own_other", "own_package.more", "own_more", "static.page"):
            with self.assertRaises(ModuleNotFoundError, msg=name):
                importlib.import_module(name)

    def test_modules_are_listed_as_of_the_load(self):
        def listed(folder):
            return [(each.name, each.ispkg) for each in pkgutil.iter_modules([folder], "x.")]

        folders = (self.folder, f"{self.folder}/own_package", f"{self.folder}/own_spaces")
        before = [listed(folder) for folder in folders]
        for folder in folders:
            del sys.path_importer_cache[folder]
        self.install()
        self.write({"own_other.py": ""})
        self.assertEqual([listed(folder) for folder in folders], before)

    def test_modules_have_the_same_attributes_as_from_their_folder(self):
        def attributes(names):
            modules = [importlib.import_module(name) for name in names]
            for name in names:
                del sys.modules[name]
            return [
                (module.__name__, getattr(module, "__file__", None), module.__package__,
                 list(getattr(module, "__path__", ())), module.__spec__.origin,
                 module.__spec__.has_location, module.__spec__.cached)
                for module in modules
            ]  # fmt: skip

        names = ["own_single", "own_package", "own_package.inner", "own_spaces", "own_spaces.part"]
        before = attributes(names)
        self.install()
        self.assertEqual(attributes(names), before)

    def test_a_link_to_a_parent_folder_ends(self):
        if not hasattr(os, "symlink"):
            self.skipTest("this system has no links")
        try:
            os.symlink(self.folder, f"{self.folder}/own_package/up")
        except OSError:
            self.skipTest("the sandbox makes no links")
        self.install()
        self.assertEqual(self.text("own_package.inner"), "inner")

    def test_an_application_beyond_a_limit_or_without_sources_is_imported_from_its_folder(self):
        for limit, value in (("TOTAL_BYTES_MAX", 60), ("FILES_MAX", 4)):
            before = getattr(own_sources, limit)
            setattr(own_sources, limit, value)
            try:
                self.assertIsNone(OwnSources.read(self.folder))
            finally:
                setattr(own_sources, limit, before)
        self.assertIsNotNone(OwnSources.read(self.folder))
        self.write({"own_package/compiled.pyc": ""})
        self.assertIsNone(OwnSources.read(self.folder))


if __name__ == "__main__":
    unittest.main()
