"""Prepares the snapshot: imports the application, and performs all initialization that a request
would otherwise need. Runs in the sandbox, at the build; returns the class that the server calls."""

from __future__ import annotations

import contextlib
import gc
import importlib
import importlib.resources
import inspect
import os
import sys

from wasgi.guest import (
    asgi, census, explain, gather, hot, phase, report, room, setup, stack, warm,
)  # fmt: skip
from wasgi.guest.application import application_class
from wasgi.guest.files import Files
from wasgi.guest.report import fail
from wasgi.guest.system import System

#: The number of requests to each path of `--warm` once the code is in its final place. The
#: interpreter adapts its bytecode after some executions; code that is not adapted updates counters,
#: which are writes to pages of the snapshot.
WARM_ROUNDS = 32

#: Modules that the standard library imports late, in unexpected places: codecs by name, host names,
#: dates, tracebacks.
_LATE = (
    "encodings.ascii", "encodings.cp1252", "encodings.idna", "encodings.iso8859_1",
    "encodings.latin_1", "encodings.punycode", "encodings.utf_16", "encodings.utf_8",
    "encodings.utf_8_sig", "stringprep", "unicodedata", "_strptime", "linecache", "traceback",
    "random", "secrets", "json", "html.entities", "email.message", "mimetypes", "wasgi.kv",
)  # fmt: skip

#: Imported late if installed: time zones, which the sandbox lacks, are read from `tzdata`.
_OPTIONAL = ("tzdata.zoneinfo",)


def prepare(plan: dict) -> type:
    """Performs the steps that `Build` planned, and returns the class that handles requests.

    `plan` contains the application (`module`, `attribute`, `is_factory`), modules to import in
    addition (`imports`), paths to request (`warm`), and the folders of the sandbox's file system:
    `main_folder`, `own_folders`, `installed_folders`, and `names`, their paths outside.
    `companions` says which modules of installed packages require which.
    """
    sys.dont_write_bytecode = True
    report.begin(plan["main_folder"])
    place = explain.Place(plan["names"], plan["own_folders"], plan["installed_folders"])
    phase.begin()
    system = setup.install()
    if plan["own_folders"]:
        os.chdir(plan["own_folders"][0])
    _import_late(plan["imports"], place)
    application = _application(plan, place)
    made = application_class(application)
    _warm(application, made, plan, system, place)
    system.is_building = False
    phase.end()
    stack.guard()
    gc.collect()
    census.take()
    # Also frees the interpreter's own caches.
    gc.collect()
    room.leave()
    # All objects are permanent now: a collection at run time need not traverse them, which would
    # copy almost every page of the snapshot.
    gc.freeze()
    return made


def _warm(application, made: type, plan: dict, system: System, place: explain.Place) -> None:
    """Brings the application to the state after some requests, with the data that they write to in
    one place."""
    paths = plan["warm"]
    for path in paths:
        _try(application, path, place)
    ran = hot.observe(lambda: [warm.ask(made, path) for path in paths])
    _keep(system.files, plan, place)
    gc.collect()
    room.leave(room.SMALL_ROOM_BYTES)
    hot.gather([*ran, *hot.binding()])
    for path in paths * WARM_ROUNDS:
        warm.ask(made, path)


def _import_late(imports: list[str], place: explain.Place) -> None:
    for name in _LATE:
        importlib.import_module(name)
    for name in _OPTIONAL:
        # `find_spec` would raise an exception if a parent package is missing.
        with contextlib.suppress(ImportError):
            importlib.import_module(name)
    for name in imports:
        try:
            importlib.import_module(name)
        except Exception as error:
            fail(f"--import {name}: {explain.line(error, place)}", explain.details(error, place))


def _application(plan: dict, place: explain.Place):
    module, attribute = plan["module"], plan["attribute"]
    try:
        found = importlib.import_module(module)
    except ModuleNotFoundError as error:
        if error.name is not None and f"{module}.".startswith(f"{error.name}."):
            folders = [plan["names"][folder] for folder in plan["own_folders"]]
            fail(f"there is no module {error.name} in {', '.join(folders)} (--path adds folders)")
        fail(explain.line(error, place), explain.details(error, place))
    except BaseException as error:
        fail(explain.line(error, place), explain.details(error, place))
    for name in attribute.split("."):
        try:
            found = getattr(found, name)
        except AttributeError:
            callables = _callables(found)
            has = f"; it has {', '.join(callables)}" if callables else ""
            fail(f"module {module} has no {attribute}{has}")
    if plan["is_factory"]:
        try:
            found = found()
        except BaseException as error:
            fail(
                f"{module}:{attribute}() failed: {explain.line(error, place)}",
                explain.details(error, place),
            )
    return _wsgi(found, f"{module}:{attribute}", plan["is_factory"], place)


def _wsgi(found, name: str, is_made: bool, place: explain.Place):
    """Returns the object as a WSGI application. Wraps it if it is an ASGI application."""
    if not callable(found):
        fail(f"{name} is not an application: {type(found).__name__} is not callable")
    if asgi.is_asgi(found):
        application = asgi.WsgiOfAsgi(found)
        try:
            application.start()
        except asgi.LifespanFailed as error:
            # The message is often a traceback.
            told = str(error).strip()
            fail(f"{name}: its lifespan startup failed: {told.splitlines()[-1]}", told)
        except Exception as error:
            fail(f"{name}: {explain.line(error, place)}", explain.details(error, place))
        return application
    try:
        inspect.signature(found).bind({}, None)
    except TypeError as error:
        hint = "" if is_made else f"; if it creates the application, write {name}()"
        fail(f"{name} does not take (environ, start_response): {error}{hint}")
    except ValueError:
        # It has no signature to check.
        pass
    return found


def _callables(module) -> list[str]:
    """Returns a few of the module's own callables, as suggestions."""
    names = [
        name for name, value in vars(module).items()
        if not name.startswith("_") and callable(value) and not isinstance(value, type)
    ]  # fmt: skip
    return names[:5]


def _keep(kept: Files, plan: dict, place: explain.Place) -> None:
    """Stores the files that may be read later."""
    gatherer = gather.Gatherer(kept)
    try:
        gatherer.standard_library()
        for folder in plan["installed_folders"]:
            gatherer.installed(folder, plan["include"])
        for folder in plan["own_folders"]:
            gatherer.own(folder)
        gatherer.companions(plan["installed_folders"], plan["companions"])
    except gather.TooLarge as error:
        fail(
            f"{place.outside(error.path)} {error.reason}, and a handler keeps its files in memory; "
            "use --path with a folder that contains only the application"
        )
    if gatherer.left_out:
        names = sorted(place.relative(path) for path in gatherer.left_out)
        more = f" and {len(names) - 10} more" if len(names) > 10 else ""
        report.note(f"not included in the handler: {', '.join(names[:10])}{more}")


def _try(application, path: str, place: explain.Place) -> None:
    """Requests a page once, and ends the build if that fails."""
    environ = warm.environ_dict(path)
    try:
        status = warm.request(application, environ)
    except BaseException as error:
        fail(f"--warm {path}: {explain.line(error, place)}", explain.details(error, place))
    if status.startswith("5"):
        fail(f"--warm {path}: answered with {status}", environ["wsgi.errors"].getvalue())
