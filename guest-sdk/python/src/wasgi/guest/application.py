"""What the server calls, over a WSGI application."""

from __future__ import annotations

import sys

from wasgi.guest import compat
from wasgi.guest.body import body
from wasgi.guest.environ import environ_dict
from wasgi.guest.exception import record
from wasgi.guest.start_response import StartResponse


def application_class(wsgi_application):
    """A class whose instances answer the contract's ``call`` with this application."""

    class Application:
        """Made while the component is built, and part of its snapshot."""

        is_fresh = True

        def call(self, environ, start_response):
            """Answers one request."""
            from componentize_py_types import Err

            if self.is_fresh:
                self.is_fresh = False
                _begin()
            try:
                result = wsgi_application(environ_dict(environ), StartResponse(start_response))
                return body(result)
            except BaseException as error:
                # SystemExit and KeyboardInterrupt as well: there is no process to end.
                raise Err(record(error)) from None

    return Application


def _begin() -> None:
    """Gives the instance what is no part of the snapshot: arguments, which componentize-py empties,
    and random numbers of its own, as the generator's state at the build is the same in all."""
    compat.set_arguments()
    if random := sys.modules.get("random"):
        random.seed()
