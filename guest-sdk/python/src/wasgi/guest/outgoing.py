"""HTTP requests to other hosts by `wasi:http`: the server connects, encrypts, and checks
certificates.

An `Exchange` is one request with its response. Its resources are held here until it is closed: a
resource must be dropped before the one that it was made from, and Python's collector keeps no such
order.
"""

from __future__ import annotations

import errno
import gc
import itertools
import socket

from wasgi.guest import phase

#: The maximum number of bytes of one read.
_BLOCK_BYTES = 64 << 10

#: The methods that have a case of their own.
_METHODS = ("get", "head", "post", "put", "delete", "connect", "options", "trace", "patch")

#: Fields of the connection, which the server sets.
_OF_CONNECTION = frozenset(
    (
        b"connection", b"expect", b"host", b"keep-alive", b"proxy-connection", b"te",
        b"transfer-encoding",
    )  # fmt: skip
)

_IS_LOADING = "there is no network while the application is imported, only for requests"

#: The number of open exchanges from which the garbage is collected before another one is created: a
#: program seldom reads more responses at a time. Python collects by the number of objects, and does
#: not know that a dropped response in a reference cycle holds a connection.
_COLLECT_FROM = 8

#: The number of open exchanges from which the garbage is collected next: it doubles with what is in
#: use, so that the cost stays in proportion.
_collect_from = _COLLECT_FROM

#: The resources of exchanges that are not closed, by their numbers.
_open: dict[int, "_Resources"] = {}
_numbers = itertools.count(1)


class _Resources:
    """What an exchange holds. Dropped in the order of the list, children first."""

    def __init__(self) -> None:
        self.held: list = []

    def hold(self, resource):
        """Holds a resource, which was made from one that is held already."""
        self.held.insert(0, resource)
        return resource

    def drop(self, *resources) -> None:
        for resource in resources:
            if resource in self.held:
                self.held.remove(resource)
                resource.__exit__(None, None, None)

    def give(self, resource):
        """Returns a resource that the server takes."""
        self.held.remove(resource)
        return resource


def _collect() -> None:
    """Closes exchanges that nothing uses, if there are many."""
    global _collect_from
    if len(_open) >= _collect_from:
        gc.collect()
        _collect_from = max(_COLLECT_FROM, 2 * len(_open))


def close(number: int) -> None:
    """Ends an exchange, and its connection unless its response was read to the end."""
    if resources := _open.pop(number, None):
        resources.drop(*list(resources.held))


class Exchange:
    """A request and its response."""

    def __init__(self, method: str, target: str, authority: str, fields, has_body: bool) -> None:
        """Creates the request. `fields` are names and values in bytes.

        Raises:
            OSError: if the application is imported.
            ValueError: if the server accepts no such request.
        """
        if phase.is_loading:
            raise OSError(errno.ENETDOWN, _IS_LOADING)
        from wit_world.imports import types

        _collect()
        self._types = types
        self.authority = authority
        self._resources = _Resources()
        self.number = next(_numbers)
        _open[self.number] = self._resources
        request = types.OutgoingRequest(_fields(types, fields))
        self._request = self._resources.hold(request)
        for name, set_part, value in (
            ("method", request.set_method, _method(types, method)),
            ("scheme", request.set_scheme, types.Scheme_Https()),
            ("host", request.set_authority, authority),
            ("path", request.set_path_with_query, target),
        ):
            _accepted(f"the request's {name} is not valid", set_part, value)
        self._body = self._output = self._input = self._pollable = None
        if has_body:
            self._body = self._resources.hold(request.body())

    def send(self, connect_timeout: float | None, first_byte_timeout: float | None) -> None:
        """Sends the head of the request.

        Raises:
            OSError: if the host is not granted.
        """
        from componentize_py_types import Err
        from wit_world.imports import outgoing_handler

        options = self._types.RequestOptions()
        options.set_connect_timeout(_nanoseconds(connect_timeout))
        options.set_first_byte_timeout(_nanoseconds(first_byte_timeout))
        try:
            response = outgoing_handler.handle(self._resources.give(self._request), options)
        except Err as error:
            raise self._failure(error.value) from None
        self._future = self._resources.hold(response)
        self._pollable = self._resources.hold(response.subscribe())
        if self._body is not None:
            self._output = self._resources.hold(self._body.write())

    def write(self, data, timeout: float | None) -> None:
        """Sends a part of the body. If the other host takes no more, its response says why.

        Raises:
            TimeoutError: if the other host takes nothing for that long.
        """
        from componentize_py_types import Err

        data = memoryview(data)
        try:
            while data and self._output is not None:
                size = self._output.check_write()
                if size == 0:
                    self._wait(self._output.subscribe(), timeout, "the write operation timed out")
                    continue
                self._output.write(bytes(data[:size]))
                data = data[size:]
        except Err as error:
            self._stream_error(error)
            self._end_output()

    def finish(self) -> None:
        """Ends the body of the request."""
        from componentize_py_types import Err

        body = self._body
        self._end_output()
        if body is not None and body in self._resources.held:
            self._body = None
            try:
                self._types.OutgoingBody.finish(self._resources.give(body), None)
            except Err:
                # The response says why.
                pass

    def _end_output(self) -> None:
        if self._output is not None:
            self._resources.drop(self._output)
            self._output = None

    def head(self, timeout: float | None) -> tuple[int, list[tuple[str, bytes]]]:
        """Waits for the response. Returns its status and its fields.

        Raises:
            OSError: if there is none.
        """
        self._wait(None, timeout, "the read operation timed out")
        result = self._future.get().value
        self._resources.drop(self._pollable, self._future)
        self._pollable = None
        if not hasattr(result.value, "status"):
            raise self._failure(result.value)
        response = self._resources.hold(result.value)
        with response.headers() as fields:
            head = response.status(), fields.entries()
        body = self._resources.hold(response.consume())
        self._input = self._resources.hold(body.stream())
        return head

    def read(self, timeout: float | None) -> bytes:
        """Returns a block of the response's body, empty at its end.

        Raises:
            OSError: if the response is incomplete, or there is no block for that long.
        """
        from componentize_py_types import Err

        try:
            while self._input is not None:
                if block := self._input.read(_BLOCK_BYTES):
                    return block
                if self._pollable is None:
                    self._pollable = self._resources.hold(self._input.subscribe())
                self._wait(None, timeout, "the read operation timed out")
        except Err as error:
            code = self._stream_error(error)
            self.close()
            if code is not None:
                raise self._failure(code) from None
        return b""

    def close(self) -> None:
        """Ends the exchange. May be called again."""
        self._body = self._output = self._input = self._pollable = None
        close(self.number)

    def _wait(self, pollable, timeout: float | None, text: str) -> None:
        """Waits for a pollable, by default that of the response."""
        from wit_world.imports import monotonic_clock, poll

        waits_for = pollable or self._pollable
        timer = None
        try:
            if timeout is None:
                waits_for.block()
            elif not waits_for.ready():
                if timeout <= 0:
                    raise BlockingIOError(errno.EAGAIN, "there is nothing to read or write yet")
                timer = monotonic_clock.subscribe_duration(_nanoseconds(timeout))
                if 0 not in poll.poll([waits_for, timer]):
                    raise TimeoutError(text)
        finally:
            for resource in (pollable, timer):
                if resource is not None:
                    resource.__exit__(None, None, None)

    def _stream_error(self, error):
        """Drops the error of a stream. Returns its reason, or none at the end of the stream."""
        failed = getattr(error.value, "value", None)
        if failed is None:
            return None
        with failed:
            return self._types.http_error_code(failed) or self._types.ErrorCode_HttpProtocolError()

    def _failure(self, code) -> OSError:
        """Returns the exception for an error of the server's."""
        self.close()
        return failure(type(code).__name__.removeprefix("ErrorCode_"), code, self.authority)


def _fields(types, fields):
    made = types.Fields()
    for name, value in fields:
        if name.lower() not in _OF_CONNECTION:
            text = name.decode("latin-1")
            _accepted(f"the field {text[:100]!r} can't be sent", made.append, text, value)
    return made


def _method(types, method: str):
    if method.lower() in _METHODS and method.isupper():
        return getattr(types, f"Method_{method.capitalize()}")()
    return types.Method_Other(method)


def _accepted(why: str, set_part, *value) -> None:
    from componentize_py_types import Err

    try:
        set_part(*value)
    except Err:
        raise ValueError(why) from None


def _nanoseconds(seconds: float | None) -> int | None:
    return None if seconds is None else max(1, min(int(seconds * 1e9), (1 << 63) - 1))


#: The exceptions before a connection exists, by the server's error.
_CONNECTING = {
    "DnsTimeout": (socket.gaierror, socket.EAI_AGAIN, "the name could not be looked up"),
    "DnsError": (socket.gaierror, socket.EAI_NONAME, "the name has no address"),
    "DestinationNotFound": (socket.gaierror, socket.EAI_NONAME, "the name has no address"),
    "DestinationUnavailable": (OSError, errno.EHOSTUNREACH, "no connection could be made"),
    "DestinationIpUnroutable": (OSError, errno.ENETUNREACH, "there is no route to the host"),
    "DestinationIpProhibited": (
        PermissionError, errno.EACCES,
        "its address is not allowed by the grant; the server's log has the line to add",
    ),
    "ConnectionRefused": (ConnectionRefusedError, errno.ECONNREFUSED, "the connection was refused"),
    "ConnectionTerminated": (ConnectionResetError, errno.ECONNRESET, "the connection was closed"),
    "ConnectionTimeout": (TimeoutError, errno.ETIMEDOUT, "the connection timed out"),
    "ConnectionLimitReached": (OSError, errno.EMFILE, "there are too many connections"),
    "HttpRequestDenied": (
        PermissionError, errno.EACCES,
        "not granted to this handler; the server's log has the line to add to wasgi.toml",
    ),
}  # fmt: skip

#: The exceptions of a connection, by the server's error.
_CONNECTED = {
    "ConnectionReadTimeout": (TimeoutError, "the read operation timed out"),
    "ConnectionWriteTimeout": (TimeoutError, "the write operation timed out"),
    "HttpResponseTimeout": (TimeoutError, "the read operation timed out"),
    "HttpResponseIncomplete": (
        ConnectionResetError, "the connection was closed before the response was complete",
    ),
    "HttpResponseBodySize": (
        OSError, "the response is larger than the server allows (budget.outbound-response)",
    ),
    "HttpResponseHeaderSectionSize": (OSError, "the head of the response is too large"),
    "HttpResponseTrailerSectionSize": (OSError, "the trailer of the response is too large"),
    "HttpProtocolError": (OSError, "the response is not HTTP"),
    "HttpRequestBodySize": (OSError, "the request's body has another length than it says"),
}  # fmt: skip


def failure(name: str, code, authority: str) -> OSError:
    """Returns the exception for an error of the server's. Those before a connection exists have
    the attribute `is_of_connection`."""
    import ssl

    where = f"https://{authority}"
    if name == "TlsCertificateError":
        error = ssl.SSLCertVerificationError(
            1,
            f"certificate verify failed: {where}: the server doesn't trust the certificate, or it "
            "is for another host; the server's system, or its SSL_CERT_FILE, has the authorities",
        )
    elif name.startswith("Tls"):
        error = ssl.SSLError(1, f"{where}: the TLS handshake failed")
    elif name in _CONNECTING:
        kind, number, text = _CONNECTING[name]
        error = kind(number, f"{where}: {text}")
    else:
        kind, text = _CONNECTED.get(name, (OSError, getattr(code, "value", None) or name))
        if kind is TimeoutError:
            return TimeoutError(text)
        number = errno.ECONNRESET if kind is ConnectionResetError else errno.EPROTO
        return kind(number, f"{where}: {text}")
    error.is_of_connection = True
    return error
