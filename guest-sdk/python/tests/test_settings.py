"""An application's settings: the accepted values, and the messages for mistakes."""

import sys
import tempfile
import unittest
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "src"))

from wasgi.guest import settings  # noqa: E402


def read(text) -> settings.Settings:
    with tempfile.TemporaryDirectory() as folder:
        content = text if isinstance(text, bytes) else text.encode()
        Path(folder, "pyproject.toml").write_bytes(content)
        return settings.read(folder)


def problem(text) -> str:
    try:
        return str(read(text))
    except settings.SettingsError as error:
        return str(error)


class Settings(unittest.TestCase):
    def setUp(self):
        if sys.version_info < (3, 11):
            self.skipTest("this Python has no tomllib")

    def test_all_keys_are_read(self):
        found = read(
            '[project]\nname = "x"\n[tool.wasgi]\napplication = "shop.web:make()"\n'
            'warm = ["/", "/a?b=c"]\npackages = "vendor/python"\n'
        )
        self.assertEqual(
            found, settings.Settings("shop.web:make()", ("/", "/a?b=c"), "vendor/python")
        )

    def test_nothing_need_be_said(self):
        with tempfile.TemporaryDirectory() as folder:
            self.assertEqual(settings.read(folder), settings.Settings())
        for text in ("", "[tool.other]\nx = 1\n", "[tool]\nwasgi = {}\n"):
            self.assertEqual(read(text), settings.Settings())

    def test_a_mistake_names_the_file_and_the_key(self):
        for line, expected in [
            ("aplication = 'a:b'", "'aplication': unknown key; the keys are application, warm, packages"),
            ("application = 5", "application: must be a string, not int"),
            ("application = 'app'", "application: 'app': write \"module:name\""),
            ("application = 'a-b:c'", "application: 'a-b:c'"),
            ("application = 'a:b(1)'", "application: 'a:b(1)'"),
            ("packages = '/etc'", "packages: '/etc': name a folder"),
            ("packages = 'a/../../b'", "packages: 'a/../../b'"),
            ("warm = '/'", "warm: must be a list"),
            ("warm = ['x']", "warm: 'x': a path must begin with /"),
            ("warm = [1]", "warm: must be a string, not int"),
            (f"warm = {['/'] * 33}", "warm: must be a list of at most 32 paths"),
            (f"warm = ['/{'x' * 1_000}']", "warm: longer than 1000 characters"),
        ]:
            with self.subTest(line=line):
                told = problem(f"[tool.wasgi]\n{line}\n")
                self.assertTrue(told.startswith(f"pyproject.toml: tool.wasgi.{expected}"), told)
                self.assertNotIn("\n", told)

    def test_what_is_no_toml_or_too_much_is_one_line(self):
        for text, expected in [
            ("[tool", "pyproject.toml: "),
            (b"\xff", "pyproject.toml: "),
            ("tool = 5", "Settings("),
            ("[tool]\nwasgi = 5", "pyproject.toml: tool.wasgi must be a table"),
            ("x = " + "[" * 30_000, "pyproject.toml: "),
            ("#" * (65 << 10), "pyproject.toml: larger than 64 KiB"),
        ]:
            with self.subTest(text=text[:20]):
                told = problem(text)
                self.assertTrue(told.startswith(expected), told)
                self.assertNotIn("\n", told)


if __name__ == "__main__":
    unittest.main()
