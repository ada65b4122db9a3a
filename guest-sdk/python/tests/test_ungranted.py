"""Notes on exceptions about what is not granted."""

import errno
import os
import unittest

import fakes  # noqa: F401 (puts the package on the path)

from wasgi.guest import phase, ungranted


class System:
    """Has one folder, `/app`."""

    def absolute(self, path):
        return os.path.normpath(os.path.join("/app", path))

    def os_stat(self, path):
        if path != "/app":
            raise OSError(errno.ENOENT, "none", path)

    @ungranted.explained(is_changing=None)
    def os_open(self, path, flags, number=errno.ENOENT):
        raise OSError(number, "failed", path)

    @ungranted.explained(is_changing=False)
    def os_listdir(self, path=None):
        raise OSError(errno.ENOENT, "none", path)


class Notes(unittest.TestCase):
    def setUp(self):
        ungranted.begin("[handlers.shop]")
        self.addCleanup(ungranted.begin, None)

    def notes(self, function, *arguments):
        with self.assertRaises((OSError, KeyError)) as caught:
            function(*arguments)
        return getattr(caught.exception, "__notes__", [])

    def test_a_path_outside_of_all_folders_names_the_grant(self):
        for path, flags, folder, writable in (
            ("/data/a", os.O_RDONLY, "/data", ""),
            ("/data/a", os.O_WRONLY, "/data", ", writable = true"),
            ("/data/a", os.O_RDONLY | os.O_CREAT, "/data", ", writable = true"),
            ("/a", os.O_RDONLY, "/a", ""),
            ("../data/a", os.O_RDONLY, "/data", ""),
        ):
            grant = f'files = [{{ source = "data", destination = "{folder}"{writable} }}]'
            (note,) = self.notes(System().os_open, path, flags)
            self.assertTrue(note.endswith(f"add to wasgi.toml: [handlers.shop] {grant}"), note)

    def test_a_folder_that_can_not_be_changed_names_the_grant(self):
        (note,) = self.notes(System().os_open, "new", os.O_WRONLY, errno.EROFS)
        self.assertIn("can't change the folder of /app/new", note)

    def test_what_no_grant_would_prevent_has_no_note(self):
        system = System()
        self.assertEqual(self.notes(system.os_open, "none", os.O_RDONLY), [])
        self.assertEqual(self.notes(system.os_open, "/data/a", os.O_RDONLY, errno.EISDIR), [])
        self.assertEqual(self.notes(system.os_listdir), [])
        self.assertEqual(self.notes(system.os_open, 7, os.O_RDONLY), [])
        phase.begin()
        self.addCleanup(phase.end)
        self.assertEqual(self.notes(system.os_open, "/data/a", os.O_RDONLY), [])

    def test_a_variable_names_the_grant_and_one_with_a_default_is_not_an_error(self):
        get = os._Environ.__getitem__
        self.addCleanup(setattr, os._Environ, "__getitem__", get)

        def missing(_, name):
            raise KeyError(name)

        # In the sandbox, the server's copy of the module has replaced it already.
        os._Environ.__getitem__ = missing
        for _ in range(2):
            ungranted.install()
        (note,) = self.notes(os.environ.__getitem__, "WASGI_NONE")
        self.assertIn('[handlers.shop] environment = { WASGI_NONE = "value" }', note)
        self.assertIsNone(os.environ.get("WASGI_NONE"))
        ungranted.begin(None)
        (note,) = self.notes(os.environ.__getitem__, "WASGI_NONE")
        self.assertIn("[handlers.NAME]", note)


if __name__ == "__main__":
    unittest.main()
