"""The handler's files, and the replacements for features that the sandbox lacks.

Each test that replaces Python's functions runs in a separate interpreter.
"""

import os
import subprocess
import sys
import tempfile
import textwrap
import unittest
from pathlib import Path

import fakes  # noqa: F401 (puts the package on the path)

from wasgi.guest import gather
from wasgi.guest.files import PIECE_BYTES, Files, Space, WritableFile

SOURCE = str(Path(__file__).resolve().parent.parent / "src")

#: Runs before each program. Native Python has more functions than the sandbox's, and a `/tmp`.
BEFORE = """\
import errno, glob, io, os, pathlib, shutil, stat, sys, tempfile
shutil._copyxattr = lambda *_, **__: None
from wasgi.guest import compat, gather, setup
compat.TEMPORARY, compat.HOME = "/sandbox/tmp", "/sandbox/home"
tempfile.tempdir = compat.TEMPORARY
system = setup.install()
def sealed(folder):
    gather.Gatherer(system.files).own(folder)
    system.real["rename"](folder, folder + ".gone")
    system.is_building = False
"""


class Program(unittest.TestCase):
    def runs(self, program: str, folder: str = "") -> str:
        """Returns the output of a program that uses a handler's files."""
        done = subprocess.run(
            [sys.executable, "-c", BEFORE + textwrap.dedent(program), folder],
            env={**os.environ, "PYTHONPATH": SOURCE},
            capture_output=True,
            text=True,
        )
        self.assertEqual(done.returncode, 0, done.stderr)
        return done.stdout


class Kept(Program):
    """Files that no longer exist on disk when they are read."""

    def setUp(self):
        holder = tempfile.TemporaryDirectory()
        self.addCleanup(holder.cleanup)
        self.top = os.path.join(holder.name, "app")
        Path(self.top, "templates").mkdir(parents=True)
        Path(self.top, "templates", "page.html").write_text("é" * 1000 + "\n", "utf-8")
        Path(self.top, "data").write_bytes(b"\x00\xff")

    def kept(self, program: str) -> str:
        return self.runs(program, self.top)

    def test_the_times_of_files_and_folders_are_those_of_the_build(self):
        paths = [Path(self.top)]
        for number in range(200):
            paths.append(Path(self.top, f"file{number}"))
            paths[-1].write_bytes(b"")
            # Most of these times have no exact floating-point number.
            os.utime(paths[-1], ns=(0, 1_796_000_000_000_000_000 + 4_999_999 * number))
        out = self.kept(
            """
            top = pathlib.Path(sys.argv[1])
            paths = [top, top / "templates", *top.glob("file*")]
            before = {path: path.stat() for path in paths}
            sealed(str(top))
            for path, then in before.items():
                now = path.stat()
                assert now.st_mtime == then.st_mtime, (path, now.st_mtime, then.st_mtime)
                assert now.st_mtime_ns == then.st_mtime_ns, path
                assert now[stat.ST_MTIME] == then[stat.ST_MTIME], path
                assert os.path.getmtime(path) == then.st_mtime, path
            print(len(before))
            """
        )
        self.assertEqual(out, "202\n")

    def test_text_and_bytes_are_read_by_every_way_in(self):
        out = self.kept(
            """
            import io as io_module
            top = sys.argv[1]
            # Taken before the application's files are where they will be.
            def by_default(path, open=open): return open(path, "rb").read()
            class ByClass: open = staticmethod(io.open)
            opened_at_import = open(top + "/data", "rb")
            sealed(top)
            fd = os.open(top + "/data", os.O_RDONLY)
            print(os.read(fd, 9), os.fstat(fd).st_size, os.lseek(fd, 1, 0), os.pread(fd, 1, 0))
            print(open(fd, "rb").read())
            print(by_default(top + "/data"), ByClass.open(top + "/data", "rb").read())
            print(opened_at_import.read(), opened_at_import.seek(1), opened_at_import.read())
            print(io.FileIO(top + "/data").readall(), end=" ")
            print(open(os.fsencode(top) + b"/data", "rb").read())
            print(open(top + "/templates/../data", "rb").read(1), end=" ")
            print(pathlib.Path(top, "data").read_bytes())
            print(open(top + "/data", "rb", 0).read(1), end=" ")
            print(len(open(top + "/templates/page.html").read()))
            os.chdir(top)
            print(open("data", "rb").read(), os.getcwd() == top)
            """
        )
        self.assertEqual(
            out.splitlines(),
            [
                r"b'\x00\xff' 2 1 b'\x00'", r"b'\xff'", r"b'\x00\xff' b'\x00\xff'",
                r"b'\x00\xff' 1 b'\xff'", r"b'\x00\xff' b'\x00\xff'", r"b'\x00' b'\x00\xff'",
                r"b'\x00' 1001", r"b'\x00\xff' True",
            ],
        )  # fmt: skip

    def test_folders_are_listed_and_walked(self):
        out = self.kept(
            """
            top = sys.argv[1]; sealed(top)
            print(sorted(os.listdir(top)), sorted(os.listdir(os.fsencode(top))))
            with os.scandir(top) as entries: print(sorted((e.name, e.is_dir()) for e in entries))
            print([len(files) for _, _, files in os.walk(top)], os.path.isdir(top + "/templates"))
            print(len(glob.glob(top + "/**/*.html", recursive=True)), os.access(top, os.W_OK))
            print(sorted(os.listdir("/sandbox")))
            """
        )
        self.assertEqual(
            out.splitlines(),
            [
                "['data', 'templates'] [b'data', b'templates']",
                "[('data', False), ('templates', True)]", "[1, 1] True", "1 False",
                "['home', 'tmp']",
            ],
        )  # fmt: skip

    def test_nothing_kept_can_be_written(self):
        out = self.kept(
            """
            top = sys.argv[1]; sealed(top)
            def fails(call, *arguments):
                try: call(*arguments)
                except OSError as error: print(errno.errorcode[error.errno], end=" ")
            for mode in ("w", "a", "r+"): fails(open, top + "/data", mode)
            fails(open, top + "/data", "x"); fails(open, top + "/new", "w")
            fails(open, top); fails(open, top + "/none"); fails(open, top + "/none/new", "w")
            fails(os.unlink, top + "/data"); fails(os.mkdir, top + "/new"); fails(os.rmdir, top)
            fails(os.listdir, top + "/data"); fails(os.rename, top + "/data", top + "/b")
            fails(os.truncate, top + "/data", 0); fails(os.utime, top + "/data")
            """
        )
        self.assertEqual(
            out.split(),
            "EROFS EROFS EROFS EEXIST EROFS EISDIR ENOENT ENOENT EROFS EROFS EROFS ENOTDIR EROFS "
            "EROFS EROFS".split(),
        )


class Written(Program):
    def test_temporary_files_and_folders_are_ordinary_ones(self):
        out = self.runs(
            """
            with tempfile.NamedTemporaryFile() as file:
                file.write(b"x" * 200_000); file.flush()
                print(os.stat(file.name).st_size, open(file.name, "rb").read() == b"x" * 200_000)
            with tempfile.TemporaryFile("w+") as file:
                file.write("é\\nz"); file.seek(0); print(file.readlines())
            spooled = tempfile.SpooledTemporaryFile(10)
            spooled.write(b"a" * 20); spooled.seek(5); print(len(spooled.read())); spooled.close()
            with tempfile.TemporaryDirectory() as top:
                pathlib.Path(top, "a", "b").mkdir(parents=True)
                pathlib.Path(top, "a", "b", "c.txt").write_text("q")
                shutil.copytree(top + "/a", top + "/z")
                os.rename(top + "/z/b/c.txt", top + "/n"); shutil.rmtree(top + "/a")
                print(sorted(os.listdir(top)), open(top + "/n").read())
            print(os.listdir(compat.TEMPORARY), system.files.space.used)
            """
        )
        self.assertEqual(
            out.splitlines(),
            ["200000 True", "['é\\n', 'z']", "15", "['n', 'z'] q", "[] 0"],
        )

    def test_descriptors_read_write_and_end(self):
        out = self.runs(
            """
            path = compat.TEMPORARY + "/f"
            fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL)
            os.write(fd, b"abc"); os.ftruncate(fd, 100_000); os.pwrite(fd, b"end", 99_997)
            print(os.pread(fd, 5, 99_995), os.fstat(fd).st_size)
            os.ftruncate(fd, 2); print(os.pread(fd, 9, 0)); os.close(fd)
            for call in (os.fstat, os.close):
                try: call(fd)
                except OSError as error: print(errno.errorcode[error.errno])
            with open(path, "a+b") as file:
                file.write(b"more"); file.seek(0); print(file.read())
            with open(path, "r+b") as file:
                file.seek(1); file.write(b"X"); file.truncate(3)
            print(open(path, "rb").read())
            for bad in ("rr", "b", "rwb", "rz"):
                try: open(path, bad)
                except ValueError: print("refused")
            """
        )
        self.assertEqual(
            out.splitlines(),
            [r"b'\x00\x00end' 100000", "b'ab'", "EBADF", "EBADF", "b'abmore'", "b'aXm'"]
            + ["refused"] * 4,
        )

    def test_a_database_in_a_file_is_read_and_shared_by_connections(self):
        with tempfile.TemporaryDirectory() as folder:
            top = os.path.join(folder, "app")
            os.mkdir(top)
            import sqlite3

            with sqlite3.connect(f"{top}/site.db") as database:
                database.execute("pragma journal_mode=wal")
                database.execute("create table t (n)")
                database.execute("insert into t values (7)")
            database.close()
            out = self.runs(
                """
                import sqlite3
                top = sys.argv[1]; sealed(top)
                first = sqlite3.connect(top + "/site.db")
                print(first.execute("select n from t").fetchall())
                with first: first.execute("insert into t values (8)")
                first.close()
                second = sqlite3.connect(f"file:{top}/site.db", uri=True)
                print(second.execute("select n from t").fetchall())
                made = compat.TEMPORARY + "/new.db"
                with sqlite3.connect(made) as new: new.execute("create table u (n)")
                print(sqlite3.connect(made).execute("select * from u").fetchall())
                try: sqlite3.connect(top + "/none/x.db").execute("select 1")
                except sqlite3.OperationalError as error: print(error)
                """,
                top,
            )
        self.assertEqual(
            out.splitlines(), ["[(7,)]", "[(7,), (8,)]", "[]", "unable to open database file"]
        )

    def test_the_current_folder_changes_between_the_trees_and_the_systems(self):
        with tempfile.TemporaryDirectory() as place:
            Path(place, "inner").mkdir()
            out = self.runs(
                """
                place = sys.argv[1]
                tree, inner = "/sandbox/tmp", os.path.join(place, "inner")
                up = os.path.relpath(place, tree)
                for path in (tree, place, "inner", tree, inner, tree, up):
                    os.chdir(path)
                    print(os.path.relpath(os.getcwd(), place), os.path.isdir("inner"))
                """,
                os.path.realpath(place),
            )
        lines = [line.rpartition("/")[2] for line in out.splitlines()]
        self.assertEqual(
            lines,
            ["tmp False", ". True", "inner False", "tmp False", "inner False", "tmp False", ". True"],
        )

    def test_space_has_a_limit_and_is_given_back(self):
        space = Space(bytes_max=3 * PIECE_BYTES)
        file = WritableFile(1, space)
        self.assertEqual(file.write(0, bytes(PIECE_BYTES + 5)), PIECE_BYTES + 5)
        with self.assertRaises(OSError):
            file.write(2 * PIECE_BYTES, bytes(PIECE_BYTES + 1))
        self.assertEqual((file.size(), space.used), (PIECE_BYTES + 5, PIECE_BYTES + 5))
        file.resize(3)
        self.assertEqual((file.content(), space.used), (bytes(3), 3))
        del file
        self.assertEqual(space.used, 0)

    def test_a_file_in_pieces_is_what_was_written(self):
        import io
        import random

        generator = random.Random(7)
        file, model = WritableFile(1, Space()), io.BytesIO()
        for _ in range(300):
            at = generator.randrange(0, 4 * PIECE_BYTES)
            block = generator.randbytes(generator.randrange(0, 2 * PIECE_BYTES))
            if generator.random() < 0.3:
                file.resize(at)
                model.truncate(at)
                if model.seek(0, 2) < at:
                    model.write(bytes(at - model.tell()))
            elif block:
                file.write(at, block)
                model.seek(at)
                model.write(block)
            self.assertEqual(file.read(at // 2, 100_000), model.getvalue()[at // 2 :][:100_000])
        self.assertEqual(file.content(), model.getvalue())

    def test_who_and_where_a_handler_is_can_be_asked(self):
        out = self.runs(
            """
            for name in ("umask", "statvfs", "getuid"): delattr(os, name)
            sys.modules.pop("pwd", None); compat.importlib.util.find_spec = lambda name: None
            compat.install(system)
            import pwd
            print(os.umask(0), os.umask(0o22), pwd.getpwuid(os.getuid()).pw_dir)
            os.environ.pop("HOME", None)
            print(os.path.expanduser("~"), os.path.isdir(os.path.expanduser("~")))
            shutil.os.statvfs = os.statvfs
            print(shutil.disk_usage(compat.TEMPORARY).free)
            """
        )
        self.assertEqual(
            out.splitlines(), ["18 0 /sandbox/home", "/sandbox/home True", str(1 << 30)]
        )


class Gathered(unittest.TestCase):
    def gathered(self, *names):
        """Returns the files that are collected from a folder with these files, and those that are
        omitted."""
        with tempfile.TemporaryDirectory() as folder:
            for name in names:
                Path(folder, name).parent.mkdir(exist_ok=True, parents=True)
                Path(folder, name).write_text("x")
            Path(folder, "old.wasm").write_bytes(b"\0asm\x0d\0\1\0rest")
            files = Files()
            gatherer = gather.Gatherer(files)
            gatherer.own(folder)
            found = {name for name in names if files.find(f"{folder}/{name}")}
            left = {path.removeprefix(f"{folder}/") for path in gatherer.left_out}
        return found, left

    def test_all_that_is_the_applications_is_kept(self):
        names = (
            "static/env/x.css", "target/__init__.py", ".well-known/security.txt", ".env", "a.po",
            "dist/a.whl", "venv/not-one.txt", "b.so", "c.pyc", "module.wasm", "test/t.py",
        )  # fmt: skip
        found, left = self.gathered(*names)
        self.assertEqual(found, set(names))
        self.assertEqual(left, {"old.wasm"})

    def test_what_tools_leave_is_left_out_and_named(self):
        kept = ("app.py",)
        names = (".git/config", "node_modules/a.js", ".venv/pyvenv.cfg", "__pycache__/a.pyc")
        found, left = self.gathered(*kept, *names)
        self.assertEqual(found, set(kept))
        self.assertEqual(left, {".git", "node_modules", ".venv", "old.wasm"})

    def test_a_link_within_the_folder_is_followed_and_a_circle_ends(self):
        with tempfile.TemporaryDirectory() as folder:
            Path(folder, "a").mkdir()
            Path(folder, "a", "f").write_text("x")
            Path(folder, "b").symlink_to("a")
            Path(folder, "a", "up").symlink_to("..")
            files = Files()
            gather.Gatherer(files).own(folder)
            self.assertIsNotNone(files.find(f"{folder}/b/f"))

    def test_an_installed_package_has_its_test_folder(self):
        with tempfile.TemporaryDirectory() as folder:
            Path(folder, "framework", "test").mkdir(parents=True)
            Path(folder, "framework", "test", "client.py").write_text("x")
            Path(folder, "framework", "native.so").write_text("x")
            files = Files()
            gather.Gatherer(files).installed(folder, ["framework"])
            self.assertIsNotNone(files.find(f"{folder}/framework/test/client.py"))
            self.assertIsNone(files.find(f"{folder}/framework/native.so"))

    def test_packages_that_an_imported_one_requires_are_kept(self):
        with tempfile.TemporaryDirectory() as folder:
            for name in ("late", "later", "other"):
                Path(folder, name).mkdir()
                Path(folder, name, "__init__.py").write_text("x")
            Path(folder, "single.py").write_text("x")
            files = Files()
            required = {"unittest": ["late"], "late": ["later", "single", "late"], "x": ["other"]}
            gather.Gatherer(files).companions([folder], required)
            found = set(files.names(folder))
        self.assertEqual(found, {"late", "later", "single.py"})

    def test_what_is_too_large_is_named(self):
        with tempfile.TemporaryDirectory() as folder:
            large = Path(folder, "large.bin")
            large.write_bytes(b"")
            os.truncate(large, gather.FILE_BYTES_MAX + 1)
            with self.assertRaises(gather.TooLarge) as caught:
                gather.Gatherer(Files()).own(folder)
        self.assertEqual(caught.exception.path, str(large))
        self.assertIn("8 MiB", caught.exception.reason)


if __name__ == "__main__":
    unittest.main()
