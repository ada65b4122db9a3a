"""Checks before the sandbox starts: invalid modules, packages, and their locations."""

import os
import subprocess
import sys
import tempfile
import unittest
import venv
from pathlib import Path
from unittest import mock

import fakes  # noqa: F401 (puts the package on the path)

from wasgi import packages, requirements, sandbox, sources


class Folder(unittest.TestCase):
    def setUp(self):
        holder = tempfile.TemporaryDirectory()
        self.addCleanup(holder.cleanup)
        self.top = Path(holder.name).resolve()

    def write(self, **files):
        for name, content in files.items():
            # `a__b_py` is a/b.py, and `a__INIT` is a/__init__.py.
            name = name.replace("__", "/").replace("_py", ".py").replace("INIT", "__init__.py")
            path = self.top / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(content)


class Sources(Folder):
    def mistake(self, module="app"):
        return sources.first_mistake(module, [self.top])

    def test_a_mistake_is_told_with_file_and_line(self):
        self.write(app_py="x = 1\ndef f(:\n    pass\n")
        mistake = self.mistake()
        self.assertRegex(str(mistake), r"/app\.py, line 2: SyntaxError: invalid syntax")
        self.assertEqual(mistake.text, "def f(:")
        self.assertTrue(mistake.is_certain)

    def test_mistakes_are_found_in_what_is_imported_and_named(self):
        for name, content in (
            ("other_py", "import other"), ("pack__inner_py", "from pack import inner"),
            ("pack__deep__x_py", "from pack.deep.x import y"),
            ("site__urls_py", "ROOT_URLCONF = 'site.urls'"),
            ("polls__models_py", "APPS = ['polls']"),
        ):  # fmt: skip
            self.setUp()
            self.write(app_py=content, **{name: "return 1\n"})
            self.assertIn("'return' outside function", str(self.mistake()), name)

    def test_what_nobody_imports_is_no_matter(self):
        self.write(app_py="import json\n", template_py="{{ name }} = \n", pack__x_py="(")
        self.assertIsNone(self.mistake())

    def test_relative_imports_are_followed(self):
        self.write(pack__INIT="", pack__app_py="from . import views", pack__views_py="(")
        self.assertIn("views.py, line 1", str(self.mistake("pack.app")))

    def test_a_form_that_only_the_sandbox_reads_is_not_certain(self):
        for text in ("def f[T](x): ...\n(", "try: ...\nexcept A, B: ...\n(", "x = t'{a}'\n("):
            self.write(app_py=text)
            with mock.patch.object(sys, "version_info", (3, 11, 0, "final", 0)):
                self.assertFalse(self.mistake().is_certain, text)

    def test_null_bytes_and_encodings_are_mistakes_too(self):
        self.write(app_py="x = 1\0")
        self.assertIn("null bytes", str(self.mistake()))
        (self.top / "app.py").write_bytes(b"# coding: no-such\nx = 1\n")
        self.assertIn("no-such", str(self.mistake()))


class Markers(unittest.TestCase):
    def test_they_are_evaluated_for_the_sandbox(self):
        for marker, holds in (
            ('python_version >= "3.13"', True), ('python_version < "3.9"', False),
            ('python_version < "3.100" and sys_platform != "win32"', True),
            ('sys_platform == "linux" or platform_system == "wasi"', True),
            ('extra == "test"', False), ('"3.1" in python_version', True),
            ('(python_version > "3" and (os_name == "nt"))', False),
            ("__import__('os')", False), ("x" * 5_000, False), ("python_version", True),
        ):  # fmt: skip
            self.assertEqual(requirements.holds(marker), holds, marker)

    def test_the_sandbox_is_the_one_that_componentize_py_has(self):
        import fakes  # noqa: F401

        self.assertEqual(sandbox.MARKERS["python_version"], "3.14")
        self.assertEqual(sandbox.PYTHON, (3, 14))


class Packages(Folder):
    def environment(self):
        venv.create(self.top / ".venv", with_pip=False)
        interpreter = self.top / ".venv/bin/python"
        command = [interpreter, "-c", "import site; print(site.getsitepackages()[0])"]
        installed = subprocess.run(command, capture_output=True, text=True, check=True).stdout
        return interpreter, Path(installed.strip())

    def test_those_of_an_environment_that_is_not_activated_are_found(self):
        interpreter, installed = self.environment()
        with mock.patch.multiple(sys, prefix="/usr", base_prefix="/usr"):
            with mock.patch.dict(os.environ):
                os.environ.pop("VIRTUAL_ENV", None)
                found = packages.interpreter([self.top])
        self.assertEqual(found, interpreter)
        self.assertIn(installed, packages.Packages.of(found).folders)

    def test_the_interpreter_that_runs_this_goes_before_one_beside_the_application(self):
        self.environment()
        with mock.patch.multiple(sys, prefix="/venv", base_prefix="/usr"):
            self.assertEqual(packages.interpreter([self.top]), Path(sys.executable))

    def test_pth_files_and_editable_installs_are_followed(self):
        interpreter, installed = self.environment()
        self.write(elsewhere__one_py="x = 1", mapped__two__INIT="", single_py="")
        (installed / "one.pth").write_text(f"{self.top}/elsewhere\n")
        mapping = {"two": f"{self.top}/mapped/two", "single": f"{self.top}/single"}
        (installed / "__editable___two_finder.py").write_text(
            f"import sys\nMAPPING = {mapping!r}\nclass F:\n"
            "    @classmethod\n    def find_spec(cls, *_): return None\n"
            "def install(): sys.meta_path.append(F)\n"
        )
        (installed / "two.pth").write_text(
            "import __editable___two_finder; __editable___two_finder.install()\n"
        )
        found = packages.Packages.of(interpreter)
        self.assertIn(self.top / "elsewhere", found.folders)
        staging = self.top / "staging"
        staging.mkdir()
        staged = [place for place, _ in found.staged(staging)]
        self.assertTrue((staged[0] / "two/__init__.py").is_file())
        self.assertTrue((staged[0] / "single.py").is_file())

    def test_what_a_package_requires_with_any_extra_is_known(self):
        self.write(p__a_py="", p__c_py="")
        for name, requires in (("A-b", "Requires-Dist: c.d; extra == 'x'\n"), ("c_d", "")):
            info = self.top / f"p/{name}-1.dist-info"
            info.mkdir()
            (info / "METADATA").write_text(f"Name: {name}\nVersion: 1\n{requires}\n")
            (info / "RECORD").write_text(f"{name[0].lower()}.py,,\n{name}-1.dist-info/METADATA,,\n")
        self.assertEqual(requirements.companions([self.top / "p"]), {"a": ["c"]})

    def test_linked_packages_are_copied(self):
        interpreter, installed = self.environment()
        self.write(elsewhere__three__INIT="", elsewhere__three__data="x")
        (installed / "three").symlink_to(self.top / "elsewhere/three")
        (installed / "four").mkdir()
        (installed / "four/__init__.py").symlink_to(self.top / "elsewhere/three/__init__.py")
        staging = self.top / "staging"
        staging.mkdir()
        (place, name), *_ = packages.Packages.of(interpreter).staged(staging)
        self.assertEqual(name, installed)
        self.assertTrue((place / "three/data").is_file())
        self.assertTrue((place / "four/__init__.py").is_file())

    def test_an_application_with_a_link_that_leads_out_is_copied_and_others_are_not(self):
        self.write(app__app_py="", app__static__a="", elsewhere__b="", app__more__m_py="")
        app = self.top / "app"
        (app / "inside").symlink_to("static")
        (app / "broken").symlink_to("none")
        self.assertEqual(packages.staged_application(app, self.top / "one"), app)
        (app / "more/out").symlink_to("../../elsewhere")
        (app / "static/up").symlink_to(app)
        copy = packages.staged_application(app, self.top / "two")
        self.assertEqual(copy, self.top / "two")
        self.assertTrue((copy / "more/out/b").is_file())
        self.assertFalse((copy / "static/up/static/up").exists())

    def test_what_is_linked_has_a_limit(self):
        self.write(elsewhere__large="x" * 1_000, app__app_py="")
        (self.top / "app/out").symlink_to(self.top / "elsewhere")
        with mock.patch.object(packages, "_LINKED_BYTES_MAX", 100):
            with self.assertRaisesRegex(packages.PackagesError, "large: linked files exceed"):
                packages.staged_application(self.top / "app", self.top / "copy")


if __name__ == "__main__":
    unittest.main()
