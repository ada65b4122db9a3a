"""Sends requests to an application at the build, so that the interpreter adapts its bytecode once
rather than in each instance."""

from __future__ import annotations

import io
import weakref

#: The variables of a request for a page, except for its path.
_VARIABLES = {
    "REQUEST_METHOD": "GET", "SCRIPT_NAME": "", "SERVER_NAME": "localhost", "SERVER_PORT": "80",
    "SERVER_PROTOCOL": "HTTP/1.1", "HTTP_HOST": "localhost", "REMOTE_ADDR": "127.0.0.1",
    "REMOTE_PORT": "1", "wsgi.url_scheme": "http",
}  # fmt: skip

#: The flags of the first instance, as the server passes them.
_FLAGS = {
    "wsgi.multithread": "false", "wsgi.multiprocess": "true", "wsgi.run_once": "true",
    "wsgi.input_terminated": "true",
}  # fmt: skip


def environ_dict(path: str) -> dict[str, object]:
    """Returns the environ of a request for this path, as an application sees it."""
    return {
        **_variables(path),
        **{name: flag == "true" for name, flag in _FLAGS.items()},
        "wsgi.version": (1, 0),
        "wsgi.input": io.BytesIO(),
        "wsgi.errors": io.StringIO(),
    }


def ask(application_class: type, path: str) -> None:
    """Requests this path as the server does, through the whole binding. Ignores the response and
    any exception."""
    from componentize_py_types import Err

    try:
        body = application_class().call(_Environ(path), _StartResponse())
        blocks = body.value
        if not isinstance(blocks, bytes):
            while blocks.next() is not None:
                pass
            blocks.close()
    except Err:
        pass


def _variables(path: str) -> dict[str, str]:
    path, _, query = path.partition("?")
    own = {"PATH_INFO": path, "QUERY_STRING": query, "REQUEST_URI": path, "RAW_URI": path}
    return {**_VARIABLES, **own}


class _Environ:
    """The contract's environ of a request without a body."""

    def __init__(self, path: str) -> None:
        crossing = {**_variables(path), **_FLAGS, "wsgi.version": "1.0"}
        self._variables = [(name, value.encode()) for name, value in crossing.items()]
        # As for a resource of the server.
        weakref.finalize(self, int)

    def variables(self) -> list[tuple[str, bytes]]:
        return self._variables

    def get(self, name: str) -> bytes | None:
        return dict(self._variables).get(name)

    def read(self, size: int) -> bytes:
        return b""

    def write_errors(self, block: bytes) -> None:
        pass


class _StartResponse:
    """The contract's start-response, which sends nothing."""

    def __init__(self) -> None:
        weakref.finalize(self, int)

    def call(self, status, headers, exception) -> None:
        pass

    def write(self, block) -> None:
        pass


def request(application, environ: dict) -> str:
    """Sends a request and reads the whole body. Returns the last status, or "" if there was
    none."""
    statuses = [""]

    def start_response(status, headers, exc_info=None):
        statuses.append(status)
        return lambda block: None

    blocks = application(environ, start_response)
    try:
        for _ in blocks:
            pass
    finally:
        if hasattr(blocks, "close"):
            blocks.close()
    return statuses[-1]
