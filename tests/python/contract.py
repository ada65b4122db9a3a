"""One WSGI application for many rules: the path's last segment says which."""

import sys
from pathlib import Path
from wsgiref.validate import validator

TEXT = [("Content-Type", "text/plain")]


class Closing:
    """Blocks that tell the log when they are closed."""

    def __init__(self, blocks, errors):
        self.blocks = iter(blocks)
        self.errors = errors

    def __iter__(self):
        return self.blocks

    def close(self):
        self.errors.write("closed\n")


def variables(environ, start_response):
    start_response("200 OK", TEXT)
    return [
        "".join(
            f"{name}={value!r}\n" for name, value in sorted(environ.items())
            if isinstance(value, (str, bool, tuple))
        ).encode()
    ]  # fmt: skip


def lines(environ, start_response):
    start_response("200 OK", TEXT)
    for line in environ["wsgi.input"]:
        yield b"%d " % len(line)


def echo(environ, start_response):
    start_response("200 OK", [("Content-Type", "application/octet-stream")])
    while block := environ["wsgi.input"].read(10_000):
        yield block


def write(environ, start_response):
    send = start_response("200 OK", TEXT)
    send(b"written ")
    return [b"and ", b"returned"]


def twice(environ, start_response):
    start_response("200 OK", TEXT)
    start_response("404 Not Found", TEXT)
    return [b"never"]


def recover(environ, start_response):
    start_response("200 OK", TEXT)
    try:
        raise ValueError("recovered from")
    except ValueError:
        start_response("503 Later", TEXT, sys.exc_info())
    return [b"sorry"]


def too_late(environ, start_response):
    start_response("200 OK", TEXT)
    yield b"sent"
    try:
        raise ValueError("too late")
    except ValueError:
        start_response("503 Later", TEXT, sys.exc_info())


def close(environ, start_response):
    start_response("200 OK", TEXT)
    return Closing([b"a", b"", b"b"], environ["wsgi.errors"])


def close_after_error(environ, start_response):
    def blocks():
        yield b"a"
        raise LookupError("half way")

    start_response("200 OK", TEXT)
    return Closing(blocks(), environ["wsgi.errors"])


def endless(environ, start_response):
    def blocks():
        while True:
            yield b"x" * 60_000

    start_response("200 OK", TEXT)
    return Closing(blocks(), environ["wsgi.errors"])


def inner():
    raise KeyError("innermost")


def exception(environ, start_response):
    try:
        inner()
    except KeyError as error:
        raise RuntimeError("outermost") from error


def late_start(environ, start_response):
    def blocks():
        start_response("201 Created", TEXT)
        yield b"late"

    return blocks()


def prints(environ, start_response):
    print("to standard output")
    print("to standard error", file=sys.stderr)
    environ["wsgi.errors"].write("to wsgi.errors: \u00e9\n")
    start_response("200 OK", TEXT)
    return [b"printed"]


def late(environ, start_response):
    """Imports what nothing has imported, reads a file, and asks for a codec by name."""
    import this_is_late

    assert "plistlib" not in sys.modules
    import plistlib

    own = Path("this_is_late.py").read_text()
    start_response("200 OK", TEXT)
    return [f"{this_is_late.ANSWER} {len(own) > 20} {plistlib.FMT_XML.name} ".encode(),
            "é".encode("cp437"), " bücher".encode("idna")]  # fmt: skip


def draws(environ, start_response):
    import random

    start_response("200 OK", TEXT)
    return [f"{random.random()} {random.getrandbits(64)}".encode()]


def file(environ, start_response):
    start_response("200 OK", TEXT)
    return environ["wsgi.file_wrapper"](open(__file__, "rb"), 100)


def upload(environ, start_response):
    """Goes to a temporary file, as frameworks do with large uploads."""
    import tempfile

    with tempfile.SpooledTemporaryFile(max_size=1000) as kept:
        while block := environ["wsgi.input"].read(10_000):
            kept.write(block)
        size = kept.tell()
    start_response("200 OK", TEXT)
    return [str(size).encode()]


def deep(environ, start_response):
    def down(depth):
        return down(depth + 1)

    try:
        down(0)
    except RecursionError:
        start_response("200 OK", TEXT)
        return [b"came back"]


def application(environ, start_response):
    """Does what the path says."""
    name = environ["PATH_INFO"].rpartition("/")[2]
    return globals()[name](environ, start_response)


def plain(environ, start_response):
    """Keeps every rule that the validator knows: for its eyes."""
    sent = environ["wsgi.input"].read(100) + b"".join(environ["wsgi.input"].readlines(100))
    environ["wsgi.errors"].flush()
    body = b"%d bytes\n" % len(sent)
    start_response("200 OK", [*TEXT, ("Content-Length", str(len(body)))])
    return [body] if environ["REQUEST_METHOD"] != "HEAD" else []


validated = validator(plain)
