"""Files in memory, and what stands in for what the sandbox lacks."""

import hashlib
import os
import tempfile
import unittest
from pathlib import Path

import fakes  # noqa: F401 (puts the package on the path)

from wasgi.guest import gather
from wasgi.guest.compat import _temporary_file, pbkdf2_hmac
from wasgi.guest.files import Files, Overlay


class Kept(unittest.TestCase):
    """An overlay over files that are gone by the time they are asked for."""

    def setUp(self):
        self.files = Files()
        with tempfile.TemporaryDirectory() as folder:
            self.top = folder
            Path(folder, "templates").mkdir()
            Path(folder, "templates", "page.html").write_text("é" * 1000 + "\n", "utf-8")
            Path(folder, "data").write_bytes(b"\x00\xff")
            gather._add_tree(self.files, folder)
        self.overlay = Overlay(self.files)

    def test_text_and_bytes_are_read(self):
        with self.overlay.open(f"{self.top}/templates/page.html") as file:
            self.assertEqual(file.read(), "é" * 1000 + "\n")
        with self.overlay.open(Path(self.top, "data"), "rb") as file:
            self.assertEqual(file.read(), b"\x00\xff")
        with self.overlay.open(f"{self.top}/templates/../data", "rb") as file:
            self.assertEqual(file.read(1), b"\x00")

    def test_contents_are_kept_compressed(self):
        self.assertLess(self.files.size_bytes, 1000)

    def test_nothing_can_be_written(self):
        for mode in ("w", "a", "r+", "x"):
            with self.assertRaisesRegex(OSError, "can't be written"):
                self.overlay.open(f"{self.top}/data", mode)

    def test_folders_are_listed_and_walked(self):
        self.assertEqual(sorted(self.overlay.listdir(self.top)), ["data", "templates"])
        with self.overlay.scandir(self.top) as entries:
            found = {entry.name: entry.is_dir() for entry in entries}
        self.assertEqual(found, {"data": False, "templates": True})

    def test_what_is_kept_has_its_status(self):
        self.assertEqual(self.overlay.stat(f"{self.top}/data").st_size, 2)
        self.assertTrue(self.overlay.access(f"{self.top}/data", os.R_OK))
        self.assertFalse(self.overlay.access(f"{self.top}/data", os.W_OK))

    def test_what_is_not_kept_goes_to_the_system(self):
        for ask in (self.overlay.open, self.overlay.stat, self.overlay.listdir,
                    self.overlay.scandir, self.overlay.open_code):  # fmt: skip
            with self.assertRaises(FileNotFoundError):
                ask(f"{self.top}/other")
        with self.assertRaises(IsADirectoryError):
            self.overlay.open(f"{self.top}/templates")
        with self.overlay.open(__file__) as file:
            self.assertTrue(file.readline().startswith('"""Files in memory'))

    def test_what_nobody_asks_for_is_left_out(self):
        with tempfile.TemporaryDirectory() as folder:
            for name in (".git/config", "__pycache__/a.pyc", "venv/pyvenv.cfg", "a.so", "a.py"):
                Path(folder, name).parent.mkdir(exist_ok=True)
                Path(folder, name).write_text("x")
            files = Files()
            gather._add_tree(files, folder)
        self.assertEqual(files.names(folder), ["a.py"])

    def test_what_is_too_large_is_named(self):
        with tempfile.TemporaryDirectory() as folder:
            large = Path(folder, "large.bin")
            large.write_bytes(b"")
            os.truncate(large, gather.FILE_BYTES_MAX + 1)
            with self.assertRaises(gather.TooLarge) as caught:
                gather._add_tree(Files(), folder)
        self.assertEqual(caught.exception.path, str(large))
        self.assertIn("8 MiB", caught.exception.reason)


class Compat(unittest.TestCase):
    def test_pbkdf2_is_what_openssl_makes_of_it(self):
        for name, length in (("sha256", None), ("sha256", 50), ("sha1", 8), ("sha512", 64)):
            arguments = (name, b"password", b"salt", 50, length)
            self.assertEqual(pbkdf2_hmac(*arguments), hashlib.pbkdf2_hmac(*arguments))
        with self.assertRaises(ValueError):
            pbkdf2_hmac("sha256", b"", b"", 0)

    def test_temporary_files_are_in_memory(self):
        with _temporary_file() as file:
            file.write(b"x")
            file.seek(0)
            self.assertEqual(file.read(), b"x")
        with _temporary_file("w+", encoding="utf-8") as file:
            file.write("é")
            file.seek(0)
            self.assertEqual(file.read(), "é")


if __name__ == "__main__":
    unittest.main()
