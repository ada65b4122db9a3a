"""The generic runtime: an interpreter that has no application yet. `base` readies it while the
runtime is built; the server has it load a script, or a layer of packages (`wasgi.guest.layer`) and
then a script, takes a snapshot, and starts each request from that.
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

from wasgi import requirements
from wasgi.guest import (
    asgi, census, compat, explain, gather, hot, phase, room, settings, setup, stack, ungranted,
    variables, warm,
)  # fmt: skip
from wasgi.guest.application import application_class
from wasgi.guest.layer import Layer
from wasgi.guest.own_sources import OwnSources

#: The default names of an application, in the order in which they are searched.
ATTRIBUTES = ("app", "application")

#: The modules of an application's folder that may contain it, in this order.
MODULES = ("app", "wsgi", "main")

#: Standard library modules that web frameworks and most applications import. They are imported
#: once, when the runtime is built, and are then available to all scripts.
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
    "socket", "socketserver", "sqlite3", "stat", "statistics", "string", "string.templatelib",
    "stringprep", "struct", "tempfile", "textwrap", "threading", "time", "token", "tokenize", "tomllib",
    "traceback", "types", "typing", "unicodedata", "unittest", "unittest.mock", "urllib.error",
    "urllib.parse", "urllib.request", "uuid", "warnings", "weakref", "wsgiref.handlers",
    "wsgiref.headers", "wsgiref.simple_server", "wsgiref.util", "wsgiref.validate",
    "xml.etree.ElementTree", "xml.sax", "zipfile", "zlib", "zoneinfo", "_strptime",
)  # fmt: skip

#: Modules of the binding that are imported late.
_BINDING = (
    "componentize_py_types", "wit_world", "wit_world.exports", "wit_world.exports.application",
    "wit_world.imports", "wit_world.imports.gateway", "wasgi.kv",
)  # fmt: skip

#: What to do about a missing package, for an application with requirements, without them, and for a
#: single-file script.
_INSTALL = "`wasgi deps` installs what {file} names"
_REQUIRE = "name its package in requirements.txt, and run `wasgi deps`"
_MOVE = "a script of one file has no packages: make it a folder with app.py and requirements.txt"

#: What to do about a missing environment variable.
_GRANT = '{table} environment = {{ {{name}} = "value" }} in wasgi.toml grants it'

#: The files that can name requirements.
_REQUIREMENTS = ("requirements.txt", settings.FILE)

#: The folders of packages in an application's folder, which are not files of the application.
_PACKAGES = frozenset((".packages", ".venv"))

#: The number of requests to each warm path: the interpreter adapts its bytecode after some
#: executions.
WARM_ROUNDS = 32

_made = None
_system = None
_layer = Layer()
_place = explain.Place({}, ["/app"], [])


class LoadError(Exception):
    """The script can't be loaded: one line, and an optional traceback."""

    def __init__(self, line: str, details: str = "") -> None:
        super().__init__(line)
        self.details = details


class Application:
    """The class that the server calls once a script is loaded."""

    def call(self, environ, start_response):
        """Handles one request."""
        return _made.call(environ, start_response)


def base() -> None:
    """Prepares the runtime, when it is built."""
    global _system
    sys.dont_write_bytecode = True
    phase.begin()
    _system = setup.install()
    for name in (*_BINDING, *_STANDARD):
        try:
            importlib.import_module(name)
        except ImportError:
            # The sandbox's Python has no sockets with certificates, for one.
            pass
    gc.collect()
    hot.remember()
    census.take()
    gc.collect()
    room.leave(room.RUNTIME_ROOM_BYTES)
    # A collection while a script is loaded need not traverse these objects.
    gc.freeze()


def load(plan: str) -> str:
    """Follows a JSON plan, and returns the result as JSON: `application` with its name, and
    `modules`; or `error` and `details`.

    The plan contains `path`, the search path for modules, and one of:

    - `script`: the `file` and `source` of a single-file script;
    - `folder`: an application's folder, whose settings are read. `packages` may say which entry of
      `path` is the folder of its packages; `modules` in the result then lists the modules for a
      layer;
    - `layer`: the names of modules to import before an application, and `packages`.

    `variables` are the environment variables of an application, and `table` is the line of
    `wasgi.toml` that begins the table that grants them.

    `build` says that the state is for a portable component, which has no folders: the files that
    the application may read become part of the state. With `release` in it, requests cost as
    little as those to a served script.
    """
    try:
        steps = json.loads(plan)
        return _settled(_load(steps), steps.get("build", {"release": True})["release"])
    except LoadError as error:
        return json.dumps({"error": str(error), "details": error.details})
    except settings.SettingsError as error:
        return json.dumps({"error": str(error), "details": ""})


def _load(plan: dict) -> dict:
    global _made
    compat.set_arguments()
    sys.path[:] = plan["path"]
    sys.path_importer_cache.clear()
    importlib.invalidate_caches()
    if (names := plan.get("layer")) is not None:
        _layer.take(names, plan["packages"])
        gc.collect()
        hot.remember()
        return {"application": None}
    before = variables.begin(plan.get("variables", {}))
    folder, paths = plan.get("folder"), ()
    _place.installed = [plan["packages"]] if "packages" in plan else []
    _place.names = {path: ".packages" for path in _place.installed}
    _place.hint = _hint(folder)
    build = plan.get("build")
    ungranted.begin(plan.get("table") if build is None else None)
    if build is None:
        _place.variable = _GRANT.format(table=plan.get("table", "[handlers.NAME]"))
    if script := plan.get("script"):
        name, application = _one_file(script["file"], script["source"])
    else:
        os.chdir(folder)
        # A portable component has no folder, and keeps all files.
        if build is None and (sources := OwnSources.read(folder)):
            sources.install()
        said = settings.read(folder)
        if said.packages:
            sys.path.insert(0, _packages(folder, said.packages))
        if "packages" in plan:
            _layer.offer(folder)
        name, application = _folder(folder, said.application)
        paths = said.warm
    if not callable(application):
        raise LoadError(f"{name} is not an application: {type(application).__name__} is not callable")
    if asgi.is_asgi(application):
        application = _started(name, asgi.WsgiOfAsgi(application))
    made = application_class(application)
    for path in paths:
        _try(application, path)
    if build is not None:
        _keep(plan)
    if build is None or build["release"]:
        _warm(made, paths)
    answer = {"application": name}
    if "packages" in plan:
        answer["modules"] = _layer.wanted(tuple(set(plan["path"]) - {folder}))
    if _system is not None:
        _system.is_building = False
        phase.end()
    variables.end(before)
    stack.guard()
    _made = made()
    return answer


def _settled(answer: dict, is_release: bool) -> str:
    """Prepares the memory for requests: its objects are listed, to become immortal, and its free
    part is contiguous. Returns the answer with the list's description, as JSON."""
    gc.collect()
    if is_release:
        answer["census"] = census.take_new()
    text = json.dumps(answer)
    del answer
    # Also frees the interpreter's own caches.
    gc.collect()
    # Last, because what is freed afterwards leaves a gap.
    room.leave()
    gc.freeze()
    return text


def _hint(folder: str | None) -> str:
    """Returns what to do about a missing package."""
    if folder is None:
        return _MOVE
    for file in _REQUIREMENTS:
        if os.path.isfile(os.path.join(folder, file)):
            return _INSTALL.format(file=file)
    return _REQUIRE


def _packages(folder: str, name: str) -> str:
    """Returns the path of the folder of packages that the settings name."""
    path = os.path.join(folder, name)
    if not os.path.isdir(path):
        key = f"{settings.FILE}: tool.wasgi.packages"
        raise LoadError(f"{key}: the application has no folder {name}")
    return path


def _started(name: str, application: asgi.WsgiOfAsgi) -> asgi.WsgiOfAsgi:
    """Starts an ASGI application's lifespan, and returns the application."""
    try:
        application.start()
    except asgi.LifespanFailed as error:
        told = str(error).strip()
        line = f"{name}: its lifespan startup failed: {told.splitlines()[-1]}"
        raise LoadError(line, told) from None
    except Exception as error:
        raise _failed(error) from None
    return application


def _one_file(file: str, source: str):
    """Runs a single-file script, and returns its application with its name."""
    stem = file.rpartition("/")[2].removesuffix(".py")
    # A script whose name is that of a library module must not replace it.
    name = stem if stem.isidentifier() and stem not in sys.modules else "wasgi_script"
    module = types.ModuleType(name)
    module.__file__ = f"/app/{file}"
    sys.modules[name] = module
    # Makes its lines available to tracebacks.
    lines = source.splitlines(keepends=True)
    linecache.cache[module.__file__] = (len(source), None, lines, module.__file__)
    try:
        exec(compile(source, module.__file__, "exec", dont_inherit=True), vars(module))
    except BaseException as error:
        raise _failed(error) from None
    return _found(file, module, ATTRIBUTES)


def _folder(folder: str, said: str | None):
    """Imports an application from a folder, and returns it with its name."""
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
    """Returns the `*.wsgi` modules of projects with Django's layout."""
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
        raise _failed(error) from None
    except BaseException as error:
        raise _failed(error) from None


def _found(name: str, module, attributes):
    """Returns the first of these attributes that a module has."""
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


def _keep(plan: dict) -> None:
    """Makes the files that may be read later part of the state."""
    folder, installed = plan.get("folder"), plan.get("packages")
    gatherer = gather.Gatherer(_system.files)
    try:
        gatherer.standard_library()
        if installed:
            required = requirements.companions([installed])
            gatherer.installed(installed, [])
        if folder:
            gatherer.own(folder, skip=_PACKAGES)
        if installed:
            gatherer.companions([installed], required)
    except gather.TooLarge as error:
        raise LoadError(
            f"{_shown(error.path)} {error.reason}, and a built handler keeps its files in memory"
        ) from None
    if folder:
        _system.cwd = folder
    if gatherer.left_out:
        names = sorted(map(_shown, gatherer.left_out))
        more = f" and {len(names) - 10} more" if len(names) > 10 else ""
        print(f"not included in the handler: {', '.join(names[:10])}{more}", file=sys.stderr)


def _warm(made: type, paths: list[str]) -> None:
    """Brings the application to the state after some requests, with the code that they run in one
    place."""
    if not paths:
        return
    ran = hot.observe(lambda: [warm.ask(made, path) for path in paths])
    gc.collect()
    room.leave(room.SMALL_ROOM_BYTES)
    hot.gather([*ran, *hot.binding(), Application.call.__code__])
    for path in paths * WARM_ROUNDS:
        warm.ask(made, path)


def _try(application, path: str) -> None:
    """Requests a path once, and fails if the application does."""
    environ = warm.environ_dict(path)
    try:
        status = warm.request(application, environ)
    except BaseException as error:
        raise _failed(error, f"warm path {path}: ") from None
    if status.startswith("5"):
        said = environ["wsgi.errors"].getvalue()
        raise LoadError(f"warm path {path}: answered with {status}", said)


def _failed(error: BaseException, front: str = "") -> LoadError:
    """Describes an exception to the script's author in one line: what happened, and where."""
    where = ""
    if isinstance(error, SyntaxError) and error.filename:
        where = f" ({_shown(error.filename)}:{error.lineno})"
    else:
        frames = traceback.extract_tb(error.__traceback__)
        own = [frame for frame in frames if frame.filename.startswith("/app/")]
        if own:
            where = f" ({_shown(own[-1].filename)}:{own[-1].lineno})"
    text, hint = explain.what(error, _place)
    hint = f"; {hint}" if hint else ""
    return LoadError(f"{front}{text}{where}{hint}", _traceback(error))


def _shown(filename: str) -> str:
    return filename.removeprefix("/app/")


def _traceback(error: BaseException) -> str:
    """Returns the traceback from the script's first frame on, without those of the runtime."""
    own = error.__traceback__
    while own is not None and own.tb_frame.f_code.co_filename == __file__:
        own = own.tb_next
    text = io.StringIO()
    traceback.print_exception(type(error), error, own, file=text)
    return text.getvalue()
