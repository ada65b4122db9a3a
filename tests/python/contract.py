"""A WSGI application for the tests of the contract: the path's last segment selects the
function."""

import sys
from pathlib import Path
from wsgiref.validate import validator

TEXT = [("Content-Type", "text/plain")]


class Closing:
    """Blocks that log when they are closed."""

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
    """Imports a new module, reads a file, and looks up codecs by name."""
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
    """Stores the body in a temporary file, as frameworks do with large uploads."""
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


def deep_in_c(environ, start_response):
    """Recurses deeply in many C functions of CPython, and lists the exception of each."""
    import ast
    import copy
    import functools
    import itertools
    import json
    import marshal
    import operator
    import pickle
    import sqlite3
    import types
    import typing
    import xml.etree.ElementTree as tree

    def nested(depth, wrap=lambda inner: [inner]):
        found = wrap(None)
        for _ in range(depth):
            found = wrap(found)
        return found

    class Deep:
        def __init__(self, depth):
            self.depth = depth

        def __str__(self):
            return str(Deep(self.depth - 1))

        def __call__(self):
            return Deep(self.depth - 1)()

        def __getattr__(self, name):
            return getattr(Deep(self.depth - 1), name)

        def __add__(self, other):
            return Deep(self.depth - 1) + other

    class Reduced:
        def __init__(self, inner):
            self.inner = inner

        def __reduce__(self):
            return tuple, ((self.inner,),)

    def delegating(inner):
        yield from inner or ()

    def iterator(wrap):
        return lambda: next(nested(depth, lambda inner: wrap(inner or iter([1, 2, 3]))), None)

    def like(operation, wildcard):
        pattern = f"{wildcard}a" * depth
        query = f"SELECT ? {operation} ?"
        return sqlite3.connect(":memory:").execute(query, ("a" * depth, pattern)).fetchone()

    first = operator.itemgetter(0)
    iterators = {
        "accumulate": itertools.accumulate,
        "batched": lambda inner: map(first, itertools.batched(inner, 1)),
        "chain": itertools.chain,
        "compress": lambda inner: itertools.compress(inner, itertools.repeat(1)),
        "cycle": itertools.cycle,
        "dropwhile": lambda inner: itertools.dropwhile(operator.not_, inner),
        "enumerate": lambda inner: map(first, enumerate(inner)),
        "filter": lambda inner: filter(None, inner),
        "filterfalse": lambda inner: itertools.filterfalse(operator.not_, inner),
        "groupby": lambda inner: map(first, itertools.groupby(inner)),
        "grouper": lambda inner: next(itertools.groupby(inner, lambda value: 1))[1],
        "islice": lambda inner: itertools.islice(inner, 3),
        "map": lambda inner: map(int, inner),
        "pairwise": lambda inner: map(first, itertools.pairwise(itertools.cycle(inner))),
        "starmap": lambda inner: itertools.starmap(int, zip(inner)),
        "takewhile": lambda inner: itertools.takewhile(bool, inner),
        "tee": lambda inner: map(int, itertools.tee(inner, 1)[0]),
        "zip": lambda inner: map(first, zip(inner)),
        "zip_longest": lambda inner: map(first, itertools.zip_longest(inner)),
    }
    depth = int(environ["QUERY_STRING"])
    variable = typing.TypeVar("variable")
    cases = {
        "loads": lambda: json.loads("[" * depth),
        "dumps": lambda: json.dumps(nested(depth)),
        "ast": lambda: ast.parse("(" * depth),
        "unary": lambda: compile("-" * depth + "1", "", "eval"),
        "pickle": lambda: pickle.dumps(nested(depth)),
        "repr": lambda: repr(nested(depth)),
        "repr_dict": lambda: repr(nested(depth, lambda inner: {1: inner})),
        "compare": lambda: nested(depth) == nested(depth),
        "isinstance": lambda: isinstance(1, nested(depth, lambda inner: (inner or str,))),
        "marshal": lambda: marshal.dumps(nested(depth)),
        "deepcopy": lambda: copy.deepcopy(nested(depth)),
        "xml": lambda: tree.tostring(tree.fromstring("<a>" * depth + "</a>" * depth)),
        "str": lambda: str(Deep(depth)),
        "call": lambda: Deep(depth)(),
        "getattr": lambda: Deep(depth).name,
        "add": lambda: Deep(depth) + 1,
        "free": lambda: nested(depth) and None,
        "hash": lambda: hash(nested(depth, lambda inner: (inner,))),
        "hash_key": lambda: {nested(depth, lambda inner: (inner,)): 1},
        "hash_slice": lambda: hash(nested(depth, lambda inner: slice(inner, 1))),
        "hash_alias": lambda: hash(nested(depth, lambda inner: list[inner])),
        "hash_method": lambda: hash(nested(depth, lambda inner: types.MethodType(inner or len, 1))),
        "parameters": lambda: list[nested(depth, lambda inner: [inner or variable])][int],
        "fold_sum": lambda: compile("1+" * depth + "1", "", "eval"),
        "fold_attribute": lambda: compile("a" + ".a" * depth, "", "eval"),
        "fold_call": lambda: compile("a" + "()" * depth, "", "eval"),
        "pattern": lambda: compile("match a:\n case a" + ".a" * depth + ": 1", "", "exec"),
        "reduce": lambda: pickle.dumps(nested(depth, Reduced)),
        "substitute": lambda: nested(depth, lambda inner: list[inner or variable])[int],
        "abstract": lambda: nested(depth, property).__isabstractmethod__,
        "attribute": lambda: nested(depth, lambda of: types.MethodType(of or len, 1)).__name__,
        "partial": lambda: nested(
            depth, lambda to: types.MethodType(functools.partial(to or (lambda *_: 1)), 1)
        )(),
        "proxy": lambda: len(nested(depth, lambda of: types.MappingProxyType(of or {}))),
        "xml_copy": lambda: copy.deepcopy(tree.fromstring("<a>" * depth + "</a>" * depth)),
        "generators": lambda: next(nested(depth, delegating), None),
        "like": lambda: like("LIKE", "%"),
        "glob": lambda: like("GLOB", "*"),
        **{name: iterator(wrap) for name, wrap in iterators.items()},
    }
    start_response("200 OK", TEXT)
    for name, case in cases.items():
        try:
            case()
            end = "none"
        except Exception as error:
            end = type(error).__name__
        yield f"{name}: {end}\n".encode()


def hashes(environ, start_response):
    """Hashes a password as Django does and as Werkzeug does."""
    import hashlib

    start_response("200 OK", TEXT)
    key = hashlib.pbkdf2_hmac("sha256", b"password", b"salt", 1_200_000)
    other = hashlib.pbkdf2_hmac("sha1", b"password", b"salt", 2, 25)
    stretched = hashlib.scrypt(b"password", salt=b"NaCl", n=1024, r=8, p=16)
    return [f"{key.hex()} {other.hex()} {stretched.hex()}".encode()]


def system(environ, start_response):
    """Calls the system functions that frameworks use."""
    import getpass
    import os
    import shutil
    import sqlite3
    import tempfile

    with tempfile.NamedTemporaryFile() as kept:
        kept.write(b"x" * 200_000)
        kept.flush()
        size = os.stat(kept.name).st_size
    with sqlite3.connect(os.path.join(tempfile.gettempdir(), "kept.db")) as database:
        database.execute("create table t (n)")
    opened = os.open(__file__, os.O_RDONLY)
    first = os.read(opened, 6)
    try:
        open("written", "w")
    except OSError as error:
        refused = os.strerror(error.errno)
    start_response("200 OK", TEXT)
    told = [size, first, refused, os.getuid(), os.umask(0o22), getpass.getuser(),
            os.path.expanduser("~"), shutil.disk_usage("/tmp").free > 1 << 20,
            sorted(os.listdir("/"))[-1], HANDLE.read(9)]  # fmt: skip
    return [repr(told).encode()]


def coroutine(environ, start_response):
    import asyncio

    async def main():
        await asyncio.sleep(0.01)
        return await asyncio.to_thread(lambda: b"from a coroutine")

    start_response("200 OK", TEXT)
    return [asyncio.run(main())]


# Opened at the build, and read at run time.
HANDLE = open(__file__)


async def asgi(scope, receive, send):
    """Echoes the body block by block, as an ASGI application."""
    if scope["type"] == "lifespan":
        await receive()
        scope["state"]["start"] = b"started "
        return await send({"type": "lifespan.startup.complete"})
    head = {"type": "http.response.start", "status": 200, "headers": [(b"x-a", b"1")]}
    await send(head)
    start = scope["state"]["start"] + scope["path"].encode() + b" "
    await send({"type": "http.response.body", "body": start, "more_body": True})
    more = True
    while more:
        message = await receive()
        more = message["more_body"]
        await send({"type": "http.response.body", "body": message["body"], "more_body": more})


def application(environ, start_response):
    """Calls the function that the path names."""
    name = environ["PATH_INFO"].rpartition("/")[2]
    return globals()[name](environ, start_response)


def plain(environ, start_response):
    """Follows every rule that `wsgiref.validate` checks."""
    sent = environ["wsgi.input"].read(100) + b"".join(environ["wsgi.input"].readlines(100))
    environ["wsgi.errors"].flush()
    body = b"%d bytes\n" % len(sent)
    start_response("200 OK", [*TEXT, ("Content-Length", str(len(body)))])
    return [body] if environ["REQUEST_METHOD"] != "HEAD" else []


validated = validator(plain)
