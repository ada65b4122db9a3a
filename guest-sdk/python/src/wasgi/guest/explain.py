"""Explains in one line why an application can't be imported: the place, the error, and what to
do."""

from __future__ import annotations

import os
import re
import sys
import traceback

from wasgi.sandbox import BROUGHT_BACK, REMOVED

#: The extensions of compiled modules.
_COMPILED = (".so", ".pyd", ".dylib")

_NO_VARIABLES = (
    "a build has no environment variables: read granted variables during a request, or use a "
    "default"
)

#: The interpreter's messages for features that the sandbox lacks, and their explanations.
_LACKS = (
    ("can't start new thread", "the sandbox has no threads"),
    ("wasi does not support processes", "the sandbox has no processes"),
)


#: Errors of connections, by the names of their classes: the modules may not be imported.
_NETWORK_ERRORS = {"gaierror", "URLError", "ConnectionError", "ConnectError", "HTTPError"}

_NO_NETWORK = "an import has no network: connect during a request"


class Place:
    """The folders of the sandbox, and their paths outside. `hint` says how to install a missing
    package, with `{top}` for the name of its module, and `variable` what to do about a missing
    environment variable, with `{name}` for its name."""

    def __init__(
        self,
        names: dict[str, str],
        own: list[str],
        installed: list[str],
        hint: str = "install it with pip install {top}",
        variable: str = _NO_VARIABLES,
    ) -> None:
        self.names, self.own, self.installed = names, own, installed
        self.hint, self.variable = hint, variable

    def outside(self, path: str) -> str:
        """Returns a path as the user knows it."""
        for folder, name in self.names.items():
            if path == folder or path.startswith(f"{folder}/"):
                return name + path.removeprefix(folder)
        return path

    def relative(self, path: str) -> str:
        """Returns a path of the application relative to its folder."""
        for folder in self.own:
            if path.startswith(f"{folder}/"):
                return path.removeprefix(f"{folder}/")
        return self.outside(path)

    def translated(self, text: str) -> str:
        """Replaces the paths in a traceback with those that the user knows."""
        return re.sub(
            r'(?<=File ")(/\d+)(?=/)', lambda found: self.names.get(found[0], found[0]), text
        )


def line(error: BaseException, place: Place) -> str:
    """Returns the line for the user."""
    where = _where(error, place)
    text, hint = what(error, place)
    return f"{where}{text}{f'; {hint}' if hint else ''}"


def details(error: BaseException, place: Place) -> str:
    """Returns the traceback from the application's first frame on, with paths as the user knows
    them."""
    frames = error.__traceback__
    while frames is not None and not _is_within(frames.tb_frame.f_code.co_filename, place.own):
        frames = frames.tb_next
    lines = traceback.format_exception(type(error), error, frames or error.__traceback__)
    return place.translated("".join(lines))


def told(error: BaseException) -> str:
    """Returns the exception as Python prints it, in one line and without its notes."""
    summary = traceback.TracebackException(type(error), error, None)
    summary.__notes__ = None
    *_, last = summary.format_exception_only()
    return " ".join(last.split())


def _where(error: BaseException, place: Place) -> str:
    """Returns the place of the last frame in the application's own code, followed by a colon."""
    if isinstance(error, SyntaxError) and error.filename and error.lineno:
        return f"{place.relative(error.filename)}, line {error.lineno}: "
    found = ""
    for frame, number in traceback.walk_tb(error.__traceback__):
        if _is_within(frame.f_code.co_filename, place.own):
            found = f"{place.relative(frame.f_code.co_filename)}, line {number}: "
    return found


def what(error: BaseException, place: Place) -> tuple[str, str]:
    """Returns the error, and what to do."""
    if isinstance(error, SyntaxError):
        return f"{type(error).__name__}: {error.msg}", ""
    for each in _chain(error):
        if isinstance(each, ImportError):
            if compiled := _compiled(each, place):
                package = (each.name or "").partition(".")[0]
                return (
                    f"the package {package} contains compiled code ({compiled}), which can't run in "
                    "the sandbox",
                    "use a pure-Python package",
                )
    # The last one is relevant: earlier ones were attempts at alternatives, or the reverse.
    for each in reversed(_chain(error)):
        if isinstance(each, ModuleNotFoundError) and each.name:
            return _missing(each.name, place)
    if _asked_for_variable(error, place):
        return told(error), place.variable.replace("{name}", _variable(error))
    if any(_is_of_network(each) for each in _chain(error)):
        return told(error), _NO_NETWORK
    for words, meaning in _LACKS:
        if words in str(error):
            return told(error), meaning
    return told(error), ""


def _is_of_network(error: BaseException) -> bool:
    """Returns whether an error says that there is no connection."""
    return any(each.__name__ in _NETWORK_ERRORS for each in type(error).__mro__)


def _chain(error: BaseException | None):
    """Returns an exception and its causes, innermost first."""
    found = []
    while error is not None and error not in found:
        found.append(error)
        error = error.__cause__ or error.__context__
    return found[::-1]


def _compiled(error: ImportError, place: Place) -> str | None:
    """Returns the compiled file that an import needs, relative to its package's parent."""
    names = [error.name or ""]
    if wanted := re.match(r"cannot import name '(\w+)' from", str(error)):
        names.append(f"{error.name}.{wanted[1]}")
    for name in names:
        *parents, last = name.split(".")
        for top in (*place.own, *place.installed):
            folder = "/".join([top, *parents])
            try:
                files = os.listdir(folder)
            except OSError:
                continue
            for file in sorted(files):
                if file.partition(".")[0] == last and file.endswith(_COMPILED):
                    return "/".join([*parents, file])
    return None


def _missing(name: str, place: Place) -> tuple[str, str]:
    top = name.partition(".")[0]
    if top in REMOVED:
        brought = BROUGHT_BACK.get(top)
        return (
            f"there is no module {name}: Python {REMOVED[top]} removed it, and the sandbox has "
            f"{sys.version_info.major}.{sys.version_info.minor}",
            f"the package {brought} provides it" if brought else "",
        )
    if top in sys.stdlib_module_names:
        # `_ssl` is the compiled part of `ssl`, which the application imported.
        public = top.lstrip("_")
        name = public if public in sys.stdlib_module_names else name
        return f"the standard library's module {name} is missing from the sandbox", ""
    installed = [place.names.get(folder, folder) for folder in place.installed]
    among = f" in {installed[-1]}" if installed else ""
    return f"there is no module {name}{among}", place.hint.format(top=top)


def _asked_for_variable(error: BaseException, place: Place) -> bool:
    """Returns whether an exception was caused by a missing environment variable."""
    if re.search(r"environment variable", str(error), re.IGNORECASE):
        return True
    frames = list(traceback.walk_tb(error.__traceback__))
    if frames and isinstance(error, KeyError):
        code = frames[-1][0].f_code
        is_os = code.co_filename in (os.__file__, "<frozen os>")
        if is_os and code.co_name == "__getitem__":
            return True
    own = [
        each.line or "" for each in traceback.extract_tb(error.__traceback__)
        if _is_within(each.filename, place.own)
    ]  # fmt: skip
    return bool(own) and re.search(r"\bos\.environ\b|\bgetenv\(", own[-1]) is not None


def _variable(error: BaseException) -> str:
    """Returns the name of the variable that an exception is about, or a placeholder."""
    name = error.args[0] if isinstance(error, KeyError) and error.args else None
    return name if isinstance(name, str) and re.fullmatch(r"\w{1,100}", name) else "NAME"


def _is_within(path: str, folders: list[str]) -> bool:
    return any(path.startswith(f"{folder}/") for folder in folders)
