"""Imports have the same effect with and without a layer of packages."""

import json
import subprocess
import sys
import tempfile
import textwrap
import unittest
from pathlib import Path

SOURCES = Path(__file__).resolve().parent.parent / "src"

# In a separate process: a layer changes the interpreter permanently.
RUN = f"""\
import json, sys
sys.path.insert(0, {str(SOURCES)!r})
from wasgi.guest.layer import Layer
application, packages = sys.argv[1:3]
layer = Layer()
sys.path[:0] = [packages]
"""

PACKAGES = {
    "one/__init__.py": "from . import inner\nimport other\nprint('one runs')\n",
    "one/inner.py": "class Inner: pass\n",
    "one/late.py": "import one.inner\nprint('late runs')\n",
    "other.py": "print('other runs')\n",
    "made/__init__.py": (
        "import sys, types\nsys.modules['made.up'] = types.ModuleType('made.up')\n"
    ),
    "needs_settings.py": "import settings\n",
    "guesses.py": (
        "try:\n    import local\n    text = local.text\nexcept ImportError:\n    text = ''\n"
    ),
    "fails.py": "import other\nraise RuntimeError\n",
    "star/__init__.py": "__all__ = ['member']\n",
    "star/member.py": "",
    "stars.py": "from star import *\n",
}


def run(code: str, names: list, application: dict = {}) -> str:
    """Returns the output of a program that starts with a layer of these modules, whose own output
    precedes it."""
    with tempfile.TemporaryDirectory() as place:
        for folder, files in [("packages", PACKAGES), ("app", application)]:
            Path(place, folder).mkdir()
            for name, content in files.items():
                path = Path(place, folder, name)
                path.parent.mkdir(exist_ok=True)
                path.write_text(content, encoding="utf-8")
        take = f"layer.take({names!r}, packages)\nprint('taken')\n"
        offer = "sys.path[:0] = [application]\nlayer.offer(application)\n"
        done = subprocess.run(
            [sys.executable, "-B", "-c", RUN + take + offer + textwrap.dedent(code),
             f"{place}/app", f"{place}/packages"],
            capture_output=True, text=True,
        )  # fmt: skip
        if done.returncode != 0:
            raise AssertionError(done.stderr)
        return done.stdout.partition("taken\n")[2]


class ALayer(unittest.TestCase):
    def test_modules_are_not_there_before_they_are_imported(self):
        code = """
            assert not {"one", "one.inner", "other"} & set(sys.modules)
            import one
            print(sorted(name for name in sys.modules if name.startswith(("one", "other"))))
            print(hasattr(one, "inner"), hasattr(one, "late"), one.__spec__.loader)
            """
        listed, attributes = run(code, ["one", "one.late", "other"]).splitlines()
        self.assertEqual(listed, "['one', 'one.inner', 'other']")
        # A module that has not been imported is not an attribute, though it is in the layer;
        # nothing runs again.
        self.assertTrue(attributes.startswith("True False <_frozen_importlib_external"), attributes)

    def test_an_import_finds_what_waits_in_each_way(self):
        for statement in (
            "import one.late",
            "from one import late",
            "import importlib; importlib.import_module('one.late')",
            "__import__('one.late')",
        ):
            with self.subTest(statement=statement):
                code = f"{statement}\nprint(sys.modules['one'].late.one.inner.Inner)\n"
                printed = run(code, ["one", "one.late"])
                self.assertEqual(printed, "<class 'one.inner.Inner'>\n")

    def test_what_a_star_imports_comes_with_it(self):
        code = "import stars\nprint(stars.member is sys.modules['star.member'])\n"
        self.assertEqual(run(code, ["star", "star.member", "stars"]), "True\n")

    def test_a_module_that_a_package_makes_comes_with_it(self):
        code = "import made\nprint('made.up' in sys.modules)\n"
        self.assertEqual(run(code, ["made"]), "True\n")

    def test_what_needs_the_application_is_left_to_it(self):
        code = "import needs_settings\nprint(needs_settings.settings.x)\n"
        self.assertEqual(run(code, ["needs_settings"], {"settings.py": "x = 5\n"}), "5\n")

    def test_a_module_that_has_looked_in_vain_for_one_of_the_application_runs_again(self):
        code = "import guesses\nprint([guesses.text], layer.wanted((packages,)))\n"
        local = {"local.py": "text = 'local'\n"}
        self.assertEqual(run(code, ["guesses"], local), "['local'] []\n")
        self.assertEqual(run(code, ["guesses"]), "[''] []\n")

    def test_what_failed_is_tried_again_by_who_imports_it(self):
        code = """
            try:
                import fails
            except RuntimeError:
                print("fails", "fails" in sys.modules, "other" in sys.modules)
            """
        self.assertEqual(run(code, ["fails"]), "fails False True\n")

    def test_the_next_layer_has_what_was_imported_beyond_this_one(self):
        code = "import one.late, json\nprint(json.dumps(layer.wanted((packages,))))\n"
        printed = run(code, ["other", "fails"]).splitlines()[-1]
        self.assertEqual(
            json.loads(printed), ["other", "fails", "one.inner", "one", "one.late"]
        )
        self.assertEqual(run(code, ["one", "one.inner", "one.late", "other"]), "[]\n")

    def test_what_can_be_found_and_is_not_imported_has_a_spec(self):
        code = """
            from importlib.util import find_spec
            spec = find_spec("one")
            print(spec.origin.endswith("one/__init__.py"), bool(spec.submodule_search_locations))
            print("one" in sys.modules)
            """
        self.assertEqual(run(code, ["one"]), "True True\nFalse\n")


if __name__ == "__main__":
    unittest.main()
