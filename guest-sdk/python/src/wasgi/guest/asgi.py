"""Serves an ASGI application with the contract: a WSGI application that runs it on its own event
loop, one request after the other.

The loop runs only while the server waits for the next block, so each block is on its way to the
client before the application sends the next (B1). Work after the last block, such as a background
task, runs after the response, in `close`.
"""

from __future__ import annotations

import http
import importlib
import inspect
import sys

#: The maximum part of a request's body in one message, in bytes.
BODY_BYTES_MAX = 64 * 1024

#: The supported version of ASGI. From 2.4 on, `send` raises an `OSError` if the client has
#: disconnected.
_VERSION = {"version": "3.0", "spec_version": "2.4"}


class LifespanFailed(Exception):
    """The application sent `lifespan.startup.failed`."""


def is_asgi(application) -> bool:
    """Returns whether this is an ASGI application: a coroutine function, an object whose `__call__`
    is one, or a function with the three parameters `(scope, receive, send)`."""
    call = application if inspect.isroutine(application) else getattr(application, "__call__", None)
    if inspect.iscoroutinefunction(application) or inspect.iscoroutinefunction(call):
        return True
    try:
        parameters = inspect.signature(application).parameters.values()
    except (TypeError, ValueError):
        return False
    wanted = [
        each.name
        for each in parameters
        if each.default is each.empty
        and each.kind in (each.POSITIONAL_ONLY, each.POSITIONAL_OR_KEYWORD)
    ]
    return len(wanted) == 3 or wanted == ["scope"]


class WsgiOfAsgi:
    """Wraps an ASGI application as a WSGI application."""

    def __init__(self, application) -> None:
        import asyncio

        self._application = _single(application)
        self._loop = asyncio.new_event_loop()
        self._state: dict = {}
        # Suspended for the lifetime of the application.
        self._lifespan = None

    def start(self) -> None:
        """Runs the start of the application's lifespan, once, at the build. An application that
        doesn't support lifespans is served all the same.

        Raises:
            LifespanFailed: if the application reports that it can't start.
        """
        lifespan = _Lifespan(self._application, self._loop, self._state)
        self._lifespan = _task(self._loop, lifespan.run())
        _run_until(self._loop, lambda: lifespan.is_over or self._lifespan.done())
        if lifespan.failure is not None:
            raise LifespanFailed(lifespan.failure)
        if "anyio" in sys.modules:
            # AnyIO imports this module at the first request.
            importlib.import_module("anyio._backends._asyncio")

    def __call__(self, environ, start_response):
        exchange = _Exchange(environ, self._loop, dict(self._state))
        exchange.begin(self._application)
        block = exchange.next_block()
        start_response(*exchange.head())
        if exchange.is_last and exchange.is_done():
            return [block]
        return _Response(exchange, block)


class _Response:
    """The blocks of a response whose application is still running."""

    def __init__(self, exchange: "_Exchange", first: bytes) -> None:
        self._exchange = exchange
        self._first: bytes | None = first

    def __iter__(self):
        return self

    def __next__(self) -> bytes:
        if self._first is not None:
            block, self._first = self._first, None
            return block
        if self._exchange.is_last:
            raise StopIteration
        return self._exchange.next_block()

    def close(self) -> None:
        self._exchange.finish()


class _Exchange:
    """A request, and the state of its response."""

    def __init__(self, environ: dict, loop, state: dict) -> None:
        self._environ = environ
        self._loop = loop
        self._scope = scope(environ, state)
        self._task = None
        self._start: dict | None = None
        #: The message that was sent but not yet consumed.
        self._block: bytes | None = None
        #: The future for which `send` waits until its message is consumed.
        self._taken = None
        #: The future for which `receive` waits after the whole body.
        self._gone = loop.create_future()
        self._bytes_read = 0
        self._is_body_read = False
        self._is_disconnected = False
        #: Whether the last block was sent.
        self.is_last = False

    def begin(self, application) -> None:
        self._task = _task(self._loop, application(self._scope, self._receive, self._send))

    def next_block(self) -> bytes:
        """Runs the application until it sends a block or ends.

        Raises:
            RuntimeError: if it ended without a complete response.
            Exception: the application's exception.
        """
        if self._taken is not None and not self._taken.done():
            self._taken.set_result(None)
        self._run(lambda: self._block is not None or self._task.done())
        if self._block is None:
            self._task.result()
            missing = "the end of the response" if self._start else "a response"
            raise RuntimeError(f"the ASGI application returned without sending {missing}")
        block, self._block = self._block, None
        return block

    def head(self) -> tuple[str, list[tuple[str, str]]]:
        """Returns the status and the fields as the arguments of `start_response`."""
        status = int(self._start["status"])
        try:
            reason = http.HTTPStatus(status).phrase
        except ValueError:
            reason = ""
        fields = [
            (bytes(name).decode("latin-1"), bytes(value).decode("latin-1"))
            for name, value in self._start.get("headers", ())
            if bytes(name).lower() not in (b"connection", b"transfer-encoding", b"keep-alive")
        ]
        return f"{status} {reason}", fields

    def is_done(self) -> bool:
        """Returns whether the application has nothing to do after its last block. Runs it as far as
        possible without waiting."""
        for _ in range(3):
            if self._task.done():
                break
            self._loop.call_soon(self._loop.stop)
            self._loop.run_forever()
        if self._task.done():
            self._task.result()
            return True
        return False

    def finish(self) -> None:
        """Runs the application to its end. If that is early, notifies it of a disconnect."""
        if self._task.done():
            # An exception was raised with its block, or is too late to be raised.
            if not self._task.cancelled() and self.is_last:
                self._task.result()
            return
        if not self.is_last:
            self._disconnect()
        if self._taken is not None and not self._taken.done():
            self._taken.set_result(None)
        try:
            self._run(self._task.done)
        finally:
            if not self._task.done():
                self._task.cancel()
        if self.is_last and not self._task.cancelled():
            self._task.result()

    def _run(self, is_enough) -> None:
        self._loop.on_idle = self._disconnect
        try:
            _run_until(self._loop, is_enough)
        finally:
            self._loop.on_idle = None

    def _disconnect(self) -> bool:
        """Notifies the application that its client has disconnected, either because it has or
        because no other event can occur."""
        self._is_disconnected = True
        if self._gone.done():
            return False
        self._gone.set_result(None)
        return True

    async def _receive(self) -> dict:
        if not self._is_body_read and not self._is_disconnected:
            return self._read()
        if not self._is_disconnected:
            await _shielded(self._gone)
        return {"type": "http.disconnect"}

    def _read(self) -> dict:
        try:
            block = self._environ["wsgi.input"].read1(BODY_BYTES_MAX)
        except (ConnectionAbortedError, TimeoutError):
            self._is_body_read = self._is_disconnected = True
            return {"type": "http.disconnect"}
        self._bytes_read += len(block)
        length = self._environ.get("CONTENT_LENGTH", "")
        is_whole = length.isdecimal() and self._bytes_read >= int(length)
        self._is_body_read = is_whole or not block
        return {"type": "http.request", "body": block, "more_body": not self._is_body_read}

    async def _send(self, message: dict) -> None:
        kind = message["type"]
        if self._is_disconnected and not self.is_last:
            raise ConnectionAbortedError("the client disconnected")
        if kind == "http.response.start":
            if self._start is not None:
                raise RuntimeError("http.response.start was already sent")
            self._start = message
        elif kind == "http.response.body":
            if self._start is None:
                raise RuntimeError("http.response.body was sent before http.response.start")
            if self.is_last:
                raise RuntimeError("http.response.body was sent after the end of the response")
            self.is_last = not message.get("more_body", False)
            await self._give(bytes(message.get("body", b"")))
        else:
            raise RuntimeError(f"{kind} is not an HTTP response message")

    async def _give(self, block: bytes) -> None:
        if not block and not self.is_last:
            return
        self._block = block
        self._loop.stop()
        if not self.is_last:
            self._taken = self._loop.create_future()
            await self._taken


class _Lifespan:
    """The lifespan protocol, which never reaches the shutdown."""

    def __init__(self, application, loop, state: dict) -> None:
        self._application = application
        self._loop = loop
        self._state = state
        self._is_told = False
        self.is_over = False
        self.failure: str | None = None

    async def run(self) -> None:
        scope = {"type": "lifespan", "asgi": dict(_VERSION), "state": self._state}
        try:
            await self._application(scope, self._receive, self._send)
        except Exception:
            # The application doesn't support lifespans, which the specification permits.
            self._state.clear()

    async def _receive(self) -> dict:
        if not self._is_told:
            self._is_told = True
            return {"type": "lifespan.startup"}
        # There is no shutdown: an instance ends without one.
        await self._loop.create_future()
        return {"type": "lifespan.shutdown"}

    async def _send(self, message: dict) -> None:
        if message["type"] == "lifespan.startup.failed":
            self.failure = message.get("message", "") or "no reason given"
        self.is_over = True
        self._loop.stop()


def scope(environ: dict, state: dict) -> dict:
    """Returns a request's scope."""
    root = environ.get("SCRIPT_NAME", "")
    target = environ.get("REQUEST_URI") or environ.get("RAW_URI") or ""
    raw_path = target.partition("?")[0].encode("latin-1")
    if not raw_path.startswith(b"/"):
        # An absolute URL, or `*`.
        raw_path = None
    client = environ.get("REMOTE_ADDR")
    return {
        "type": "http",
        "asgi": dict(_VERSION),
        "http_version": environ.get("SERVER_PROTOCOL", "HTTP/1.1").removeprefix("HTTP/"),
        "method": environ["REQUEST_METHOD"],
        "scheme": environ.get("wsgi.url_scheme", "http"),
        "path": _text(root + environ.get("PATH_INFO", "")),
        "raw_path": raw_path,
        "query_string": environ.get("QUERY_STRING", "").encode("latin-1"),
        "root_path": _text(root),
        "headers": _headers(environ),
        "client": (client, int(environ.get("REMOTE_PORT") or 0)) if client else None,
        "server": (environ["SERVER_NAME"], int(environ["SERVER_PORT"])),
        "state": state,
        # Variables without another place, such as `wasgi.route.*`.
        "wsgi_environ": environ,
    }


def _headers(environ: dict) -> list[tuple[bytes, bytes]]:
    headers = []
    for name, value in environ.items():
        if name.startswith("HTTP_"):
            name = name.removeprefix("HTTP_")
        elif name not in ("CONTENT_TYPE", "CONTENT_LENGTH") or not value:
            continue
        headers.append((name.lower().replace("_", "-").encode("latin-1"), value.encode("latin-1")))
    return headers


def _text(path: str) -> str:
    return path.encode("latin-1").decode("utf-8", "replace")


def _single(application):
    """Returns the application with the signature of ASGI 3, which takes all three arguments at
    once."""
    call = application if inspect.isroutine(application) else getattr(application, "__call__", None)
    if inspect.iscoroutinefunction(application) or inspect.iscoroutinefunction(call):
        return application
    try:
        names = list(inspect.signature(application).parameters)
    except (TypeError, ValueError):
        return application
    if names != ["scope"]:
        return application

    async def single(scope, receive, send):
        return await application(scope)(receive, send)

    return single


async def _shielded(future) -> None:
    """Waits for a future that others wait for too: cancelling the wait doesn't cancel it."""
    import asyncio

    await asyncio.shield(future)


def _task(loop, coroutine):
    """Creates a task that stops the loop at its end."""
    task = loop.create_task(coroutine)
    task.add_done_callback(lambda _: loop.stop())
    return task


def _run_until(loop, is_enough) -> None:
    """Runs a loop until the condition holds. Code that changes the condition stops the loop."""
    while not is_enough():
        loop.run_forever()
