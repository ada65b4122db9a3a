"""Makes the snapshot: imports the application and leaves nothing that a request would have to do
first. Runs in the sandbox while a component is built; what it returns is what the server calls.
"""

from __future__ import annotations

import gc
import importlib
import importlib.resources
import importlib.util
import os
import sys
import traceback

from wasgi.guest import census, compat, files, gather, hot, room, warm
from wasgi.guest.application import application_class
from wasgi.guest.report import fail

#: How often each path of `--warm` is asked for once the code is where it stays. The interpreter
#: adapts its bytecode to what it has met some times, and what it has not adapted it counts in:
#: writes to pages of the snapshot.
WARM_ROUNDS = 32

#: Imported late by the standard library itself, in places where nobody expects an import: codecs
#: by name, host names, dates, tracebacks.
_LATE = (
    "encodings.ascii", "encodings.cp1252", "encodings.idna", "encodings.iso8859_1",
    "encodings.latin_1", "encodings.punycode", "encodings.utf_16", "encodings.utf_8",
    "encodings.utf_8_sig", "stringprep", "unicodedata", "_strptime", "linecache", "traceback",
    "random", "secrets", "json", "html.entities", "email.message", "mimetypes",
)  # fmt: skip

#: The same, where installed: time zones, of which the sandbox has none, are read from `tzdata`.
_OPTIONAL = ("tzdata", "tzdata.zoneinfo")


def prepare(plan: dict) -> type:
    """Does what `Build` planned, and returns the class that answers requests.

    `plan` has the application (`module`, `attribute`, `is_factory`), modules to import beside it
    (`imports`), paths to ask it for (`warm`), and the folders of the sandbox's file system:
    `own_folders`, `installed_folders`, and `names`, what each is called outside.
    """
    sys.dont_write_bytecode = True
    compat.install()
    if plan["own_folders"]:
        os.chdir(plan["own_folders"][0])
    _import_late(plan["imports"])
    application = _application(plan)
    made = application_class(application)
    _warm(application, made, plan)
    gc.collect()
    census.take()
    # Frees what the interpreter itself has put aside, too.
    gc.collect()
    room.leave()
    # What is there now stays: a collection at run time need not look at it, which would copy
    # nearly every page of the snapshot.
    gc.freeze()
    return made


def _warm(application, made: type, plan: dict) -> None:
    """Leaves the application as it is after some requests, and what they write to in one place."""
    paths = plan["warm"]
    for path in paths:
        _try(application, path)
    ran = hot.observe(lambda: [warm.ask(made, path) for path in paths])
    kept = _kept(plan)
    gc.collect()
    room.leave()
    hot.gather(ran)
    for path in paths * WARM_ROUNDS:
        warm.ask(made, path)
    files.lay_over(kept)


def _import_late(imports: list[str]) -> None:
    for name in _LATE:
        importlib.import_module(name)
    for name in _OPTIONAL:
        if importlib.util.find_spec(name):
            importlib.import_module(name)
    for name in imports:
        try:
            importlib.import_module(name)
        except Exception as error:
            fail(f"--import {name}: {_told(error)}", _traceback(error))


def _application(plan: dict):
    module, attribute = plan["module"], plan["attribute"]
    try:
        found = importlib.import_module(module)
    except ModuleNotFoundError as error:
        if error.name is not None and f"{module}.".startswith(f"{error.name}."):
            folders = [plan["names"][folder] for folder in plan["own_folders"]]
            fail(f"there is no module {error.name} in {', '.join(folders)} (--path names others)")
        fail(
            f"{module} can't be imported: {_told(error)}; is it installed for {_python(plan)}?",
            _traceback(error),
        )
    except BaseException as error:
        fail(f"{module} can't be imported: {_told(error)}", _traceback(error))
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
            fail(f"{module}:{attribute}() failed: {_told(error)}", _traceback(error))
    if not callable(found):
        fail(f"{module}:{attribute} is no application: {type(found).__name__} can't be called")
    return found


def _python(plan: dict) -> str:
    folders = [plan["names"].get(folder, folder) for folder in plan["installed_folders"]]
    return folders[-1] if folders else "this Python"


def _callables(module) -> list[str]:
    """Names that may have been meant: callables of the module's own, a few of them."""
    names = [
        name for name, value in vars(module).items()
        if not name.startswith("_") and callable(value) and not isinstance(value, type)
    ]  # fmt: skip
    return names[:5]


def _kept(plan: dict) -> files.Files:
    try:
        return gather.gather(plan["own_folders"], plan["installed_folders"], plan["include"])
    except gather.TooLarge as error:
        path = error.path
        for folder, name in plan["names"].items():
            if path.startswith(f"{folder}/"):
                path = name + path.removeprefix(folder)
                break
        fail(
            f"{path} {error.reason}, and a handler keeps its files in memory; "
            "give --path a folder with the application alone"
        )


def _try(application, path: str) -> None:
    """Asks for a page once, and ends the build if that fails."""
    environ = warm.environ_dict(path)
    statuses = []

    def start_response(status, headers, exc_info=None):
        statuses.append(status)
        return lambda block: None

    try:
        blocks = application(environ, start_response)
        try:
            for _ in blocks:
                pass
        finally:
            if hasattr(blocks, "close"):
                blocks.close()
    except BaseException as error:
        fail(f"--warm {path}: {_told(error)}", _traceback(error))
    if statuses and statuses[-1].startswith("5"):
        fail(f"--warm {path}: answered with {statuses[-1]}", environ["wsgi.errors"].getvalue())


def _told(error: BaseException) -> str:
    lines = traceback.format_exception_only(type(error), error)
    return " ".join(lines[-1].split())


def _traceback(error: BaseException) -> str:
    return "".join(traceback.format_exception(type(error), error, error.__traceback__))
