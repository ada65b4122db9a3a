"""The class that the server calls, for a WSGI application."""

from __future__ import annotations

import sys

from wasgi.guest import compat, variables
from wasgi.guest.body import body
from wasgi.guest.environ import environ_dict
from wasgi.guest.exception import record
from wasgi.guest.start_response import StartResponse


def application_class(wsgi_application):
    """Returns a class whose instances implement the contract's ``call`` with this application."""

    class Application:
        """Instantiated at the build, and part of the snapshot."""

        is_fresh = True

        def call(self, environ, start_response):
            """Handles one request."""
            from componentize_py_types import Err

            if self.is_fresh:
                self.is_fresh = False
                _begin()
            try:
                result = wsgi_application(environ_dict(environ), StartResponse(start_response))
                return body(result)
            except BaseException as error:
                # Also SystemExit and KeyboardInterrupt: there is no process to end.
                raise Err(record(error)) from None

    return Application


def _begin() -> None:
    """Initializes state that isn't part of the snapshot: the program's arguments, which
    componentize-py clears, the environment variables, and the seed of the random numbers, since the
    generator's state from the build is the same in all instances."""
    compat.set_arguments()
    variables.refresh()
    if random := sys.modules.get("random"):
        random.seed()
