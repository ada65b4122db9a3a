"""Converts the environ to a dictionary."""

from __future__ import annotations

import json

from wasgi.guest.body import FileWrapper
from wasgi.guest.errors import Errors
from wasgi.guest.input import wsgi_input

#: Variables that are passed as the texts ``true`` and ``false``.
_FLAGS = (
    "wsgi.multithread",
    "wsgi.multiprocess",
    "wsgi.run_once",
    "wsgi.input_terminated",
)


def environ_dict(environ: object) -> dict[str, object]:
    """Returns a new dictionary with all variables of the request, as PEP 3333 requires.

    Values are native strings, in which each byte is a character of ISO-8859-1 (E4).
    """
    variables: dict[str, object] = {
        name: value.decode("iso-8859-1") for name, value in environ.variables()
    }
    major, _, minor = str(variables.get("wsgi.version", "1.0")).partition(".")
    variables["wsgi.version"] = (int(major), int(minor or 0))
    for flag in _FLAGS:
        if flag in variables:
            variables[flag] = variables[flag] == "true"
    if "wsgiorg.routing_args" in variables:
        variables["wsgiorg.routing_args"] = _routing_args(variables["wsgiorg.routing_args"])
    variables["wsgi.input"] = wsgi_input(environ)
    variables["wsgi.errors"] = Errors(environ)
    variables["wsgi.file_wrapper"] = FileWrapper
    return variables


def _routing_args(crossed: object) -> tuple[tuple, dict]:
    """Parses ``[[], {"id": "7"}]`` into the pair of positional and named arguments."""
    # The JSON is UTF-8, but has been decoded as ISO-8859-1 like all variables.
    positional, named = json.loads(str(crossed).encode("iso-8859-1"))
    return tuple(positional), named
