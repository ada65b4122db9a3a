"""The generic runtime: an interpreter that has no application yet. `base` readies it while the
runtime is built; the server has it load a script, takes a snapshot, and starts each request from
that.
"""

from __future__ import annotations

import gc
import importlib
import importlib.util
import io
import json
import linecache
import os
import sys
import traceback
import types

from wasgi.guest import asgi, census, room, setup, stack, warm
from wasgi.guest.application import application_class

#: What an application is called where nobody says so, in the order in which it is looked for.
ATTRIBUTES = ("app", "application")

#: The modules of an application's folder that may have it, in this order.
MODULES = ("app", "wsgi", "main")

#: What web frameworks and most applications import of the standard library. It is imported once,
#: when the runtime is built; a script that imports one of these finds it there.
_STANDARD = (
    "abc", "argparse", "array", "ast", "base64", "binascii", "bisect", "calendar", "cgitb",
    "cmath", "codecs", "collections.abc", "configparser", "contextlib", "contextvars", "copy",
    "csv", "dataclasses", "datetime", "decimal", "difflib", "email.headerregistry",
    "email.message", "email.mime.text", "email.parser", "email.policy", "email.utils",
    "encodings.ascii", "encodings.cp1252", "encodings.idna", "encodings.iso8859_1",
    "encodings.latin_1", "encodings.punycode", "encodings.utf_16", "encodings.utf_8",
    "encodings.utf_8_sig", "enum", "errno", "fnmatch", "fractions", "functools", "getopt",
    "gettext", "glob", "graphlib", "gzip", "hashlib", "heapq", "hmac", "html", "html.entities",
    "html.parser", "http", "http.client", "http.cookies", "http.server", "importlib.metadata",
    "importlib.resources", "inspect", "ipaddress", "itertools", "json", "keyword", "linecache",
    "locale", "logging", "logging.config", "logging.handlers", "math", "mimetypes", "numbers",
    "opcode", "operator", "os", "pathlib", "pickle", "pkgutil", "platform", "pprint", "queue",
    "quopri", "random", "re", "reprlib", "secrets", "select", "shlex", "shutil", "signal",
    "socket", "socketserver", "sqlite3", "ssl", "stat", "statistics", "string", "string.templatelib",
    "stringprep", "struct", "tempfile", "textwrap", "threading", "time", "token", "tokenize",
    "traceback", "types", "typing", "unicodedata", "unittest", "unittest.mock", "urllib.error",
    "urllib.parse", "urllib.request", "uuid", "warnings", "weakref", "wsgiref.handlers",
    "wsgiref.headers", "wsgiref.simple_server", "wsgiref.util", "wsgiref.validate",
    "xml.etree.ElementTree", "xml.sax", "zipfile", "zlib", "zoneinfo", "_strptime",
)  # fmt: skip

#: The binding's own, which is imported late.
_BINDING = (
    "componentize_py_types", "wit_world", "wit_world.exports", "wit_world.exports.application",
    "wit_world.imports", "wit_world.imports.gateway",
)  # fmt: skip

#: How often each warm path is asked for: the interpreter adapts its bytecode to what it has met
#: some times.
WARM_ROUNDS = 8

_made = None
_system = None


class LoadError(Exception):
    """Why there is no application: one line, and a traceback or nothing."""

    def __init__(self, line: str, details: str = "") -> None:
        super().__init__(line)
        self.details = details


class Application:
    """What the server calls, when a script is loaded."""

    def call(self, environ, start_response):
        """Answers one request."""
        return _made.call(environ, start_response)


def base() -> None:
    """Readies the runtime, while it is built."""
    global _system
    sys.dont_write_bytecode = True
    _system = setup.install(("/app",))
    for name in (*_BINDING, *_STANDARD):
        try:
            importlib.import_module(name)
        except ImportError:
            # The sandbox's Python has no sockets with certificates, for one.
            pass
    gc.collect()
    census.take()
    gc.collect()
    room.leave()
    # A collection while a script is loaded need not look at it.
    gc.freeze()


def load(plan: str) -> str:
    """Loads a script by a plan in JSON, and says in JSON what became of it: `application`, or
    `error` and `details`.

    The plan has `path`, the folders in which modules are found; `script` with `file` and `source`
    for a script of one file, or `folder` for an application's; `application`, where it is said, as
    `module:name`; and `warm`, paths to ask it for.
    """
    try:
        return json.dumps({"application": _load(json.loads(plan))})
    except LoadError as error:
        return json.dumps({"error": str(error), "details": error.details})


def _load(plan: dict) -> str:
    global _made
    sys.path[:] = plan["path"]
    sys.path_importer_cache.clear()
    importlib.invalidate_caches()
    if script := plan.get("script"):
        name, application = _one_file(script["file"], script["source"])
    else:
        os.chdir(plan["folder"])
        name, application = _folder(plan["folder"], plan.get("application"))
    if not callable(application):
        raise LoadError(f"{name} is no application: {type(application).__name__} can't be called")
    if asgi.is_asgi(application):
        application = _started(name, asgi.WsgiOfAsgi(application))
    made = application_class(application)
    for path in plan.get("warm", ()):
        _warm(application, made, path)
    if _system is not None:
        _system.is_building = False
    stack.guard()
    gc.collect()
    gc.freeze()
    _made = made()
    return name


def _started(name: str, application: asgi.WsgiOfAsgi) -> asgi.WsgiOfAsgi:
    """An ASGI application whose lifespan has begun."""
    try:
        application.start()
    except asgi.LifespanFailed as error:
        told = str(error).strip()
        line = f"{name}: its lifespan failed at the start: {told.splitlines()[-1]}"
        raise LoadError(line, told) from None
    except Exception as error:
        raise _failed(error) from None
    return application


def _one_file(file: str, source: str):
    """Runs a script of one file, and returns its application with its name."""
    stem = file.rpartition("/")[2].removesuffix(".py")
    # One that is called as a module of the library's must not be in its place.
    name = stem if stem.isidentifier() and stem not in sys.modules else "wasgi_script"
    module = types.ModuleType(name)
    module.__file__ = f"/app/{file}"
    sys.modules[name] = module
    # So that a traceback has its lines.
    lines = source.splitlines(keepends=True)
    linecache.cache[module.__file__] = (len(source), None, lines, module.__file__)
    try:
        exec(compile(source, module.__file__, "exec", dont_inherit=True), vars(module))
    except BaseException as error:
        raise _failed(error) from None
    return _found(file, module, ATTRIBUTES)


def _folder(folder: str, said: str | None):
    """Imports what a folder has, and returns its application with its name."""
    if said:
        module, _, attribute = said.partition(":")
        return _found(module, _imported(module), [attribute])
    for module in (*MODULES, *_django(folder)):
        if importlib.util.find_spec(module.partition(".")[0]) and _has(folder, module):
            return _found(module, _imported(module), ATTRIBUTES)
    looked_for = ", ".join(f"{module}.py" for module in MODULES)
    raise LoadError(
        f"there is no {looked_for} or */wsgi.py in it: name the application in pyproject.toml, "
        '[tool.wasgi] application = "module:name"'
    )


def _has(folder: str, module: str) -> bool:
    path = os.path.join(folder, *module.split("."))
    return os.path.isfile(f"{path}.py") or os.path.isdir(path)


def _django(folder: str) -> list[str]:
    """The modules `*.wsgi` of projects as Django makes them."""
    return sorted(
        f"{entry.name}.wsgi" for entry in os.scandir(folder)
        if entry.name.isidentifier() and os.path.isfile(os.path.join(entry.path, "wsgi.py"))
    )  # fmt: skip


def _imported(name: str):
    try:
        return importlib.import_module(name)
    except ModuleNotFoundError as error:
        if error.name == name:
            raise LoadError(f"there is no module {name}") from None
        line = f"{_told(error)}: is it installed for this application?"
        raise LoadError(line, _traceback(error)) from None
    except BaseException as error:
        raise _failed(error) from None


def _found(name: str, module, attributes):
    """The first that a module has of these."""
    for attribute in attributes:
        found = module
        for part in attribute.removesuffix("()").split("."):
            found = getattr(found, part, None)
        if found is None:
            continue
        if attribute.endswith("()"):
            try:
                found = found()
            except BaseException as error:
                raise _failed(error) from None
        return f"{name}:{attribute}", found
    callables = [
        name for name, value in vars(module).items()
        if not name.startswith("_") and isinstance(value, types.FunctionType)
    ][:5]  # fmt: skip
    has = f" (it has {', '.join(callables)})" if callables else ""
    raise LoadError(f"{name} has no {' or '.join(attributes)}{has}")


def _warm(application, made: type, path: str) -> None:
    """Leaves the application as it is after some requests."""
    environ = warm.environ_dict(path)
    try:
        status = warm.request(application, environ)
    except BaseException as error:
        raise _failed(error, f"warm path {path}: ") from None
    if status.startswith("5"):
        said = environ["wsgi.errors"].getvalue()
        raise LoadError(f"warm path {path}: answered with {status}", said)
    for _ in range(WARM_ROUNDS):
        warm.ask(made, path)


def _failed(error: BaseException, front: str = "") -> LoadError:
    """What an exception is for who wrote the script: what and where in one line."""
    where = ""
    if isinstance(error, SyntaxError) and error.filename:
        where = f" ({_shown(error.filename)}:{error.lineno})"
    else:
        frames = traceback.extract_tb(error.__traceback__)
        own = [frame for frame in frames if frame.filename.startswith("/app/")]
        if own:
            where = f" ({_shown(own[-1].filename)}:{own[-1].lineno})"
    return LoadError(f"{front}{_told(error)}{where}", _traceback(error))


def _shown(filename: str) -> str:
    return filename.removeprefix("/app/")


def _told(error: BaseException) -> str:
    lines = traceback.format_exception_only(type(error), error)
    return " ".join(lines[-1].split())


def _traceback(error: BaseException) -> str:
    """The traceback from the script on, without the runtime's own frames."""
    own = error.__traceback__
    while own is not None and own.tb_frame.f_code.co_filename == __file__:
        own = own.tb_next
    text = io.StringIO()
    traceback.print_exception(type(error), error, own, file=text)
    return text.getvalue()
