"""Sockets for HTTPS requests, which clients write as HTTP/1.1 and the server encrypts.

The server is the HTTP client (`wasgi.guest.outgoing`): it resolves the name, connects, encrypts,
and checks the certificate. So an `HttpsSocket` reads the request that a client writes, has it sent,
and returns the response in HTTP/1.1 with `Connection: close`. Each socket has one request: the
server reuses its connections.

`install` changes the clients that would connect first: `http.client`, `urllib3` and `httpcore` get
an `UnconnectedSocket`, which knows the host. With other clients, `ssl.SSLContext.wrap_socket` gets
a connected socket, and closes it.
"""

from __future__ import annotations

import http
import importlib
import socket

from wasgi.guest import late
from wasgi.guest.outgoing import Exchange, close
from wasgi.guest.request_parser import NOT_HTTP, Head, RequestParser

#: The maximum size of a body that is sent with its head, in bytes. Then the time to wait for the
#: response is known to the server, which distinguishes it from the time to connect.
_SENT_AT_ONCE_BYTES = 64 << 10

#: The generated modules that `wasgi.guest.outgoing` uses. They exist during the build only.
_BINDING = ("types", "outgoing_handler", "monotonic_clock", "poll")

_NO_PROXY = (
    "HTTPS requests can't be sent through a proxy: the server sends them, and connects itself; "
    "unset the proxy (HTTPS_PROXY, ALL_PROXY)"
)
_NO_HOST = "the name of the host is needed to check its certificate (server_hostname)"


def _same(error: OSError) -> Exception:
    return error


class UnconnectedSocket:
    """Stands for a connection that the server will make. `timeout` is the time to connect, in
    seconds, and `error` makes a client's exception of one before there is a connection."""

    family, type, proto = socket.AF_INET, socket.SOCK_STREAM, 0

    def __init__(self, host: str, port: int, timeout=None, error=_same) -> None:
        self.host, self.port, self.error = host, port, error
        self.settimeout(_seconds(timeout))

    def settimeout(self, timeout: float | None) -> None:
        self._timeout = timeout

    def gettimeout(self) -> float | None:
        return self._timeout

    def getpeername(self) -> tuple[str, int]:
        return self.host, self.port

    def getsockname(self) -> tuple[str, int]:
        return "0.0.0.0", 0

    def fileno(self) -> int:
        return -1

    def setsockopt(self, *_) -> None:
        pass

    def getsockopt(self, *_) -> int:
        return 0

    def close(self) -> None:
        pass

    shutdown = setsockopt

    def sendall(self, *_) -> None:
        raise OSError(_NO_PROXY)

    send = recv = recv_into = makefile = sendall


class HttpsSocket:
    """A socket of `ssl` for one request. `ssl.SSLContext.wrap_socket` creates it."""

    family, type, proto = UnconnectedSocket.family, UnconnectedSocket.type, 0
    server_side = session_reused = False
    session = None
    _io_refs = 0
    _exchange = _invalid = None
    _is_closed = _is_waiting = False

    @classmethod
    def around(cls, context, sock, server_hostname: str | None, protocol: str | None):
        """Returns a socket for the host of another one, which is closed."""
        made = cls()
        made.context, made.server_hostname, made._protocol = context, server_hostname, protocol
        made._timeout = made._connect_timeout = sock.gettimeout()
        made._port = sock.getpeername()[1]
        made._error = getattr(sock, "error", _same)
        host = getattr(sock, "host", None)
        made._host = _name(server_hostname or host or "")
        if not made._host:
            raise ValueError(_NO_HOST)
        if host and _name(host) != made._host:
            raise _ssl_error(
                f"the server checks the certificate for the host that it connects to, {host}, and "
                f"not for {server_hostname} (server_hostname)"
            )
        sock.close()
        made._parser = RequestParser()
        made._waiting = bytearray()
        made._response = memoryview(b"")
        made._has_head = False
        return made

    # The request.

    def sendall(self, data, flags: int = 0) -> None:
        if self._is_closed:
            raise OSError(9, "the socket is closed")
        try:
            head, body = self._parser.feed(bytes(data))
            if head is not None:
                self._create(head)
        except ValueError as error:
            # Some clients ignore it, and read the response.
            self._invalid = _ssl_error(str(error))
            raise self._invalid from None
        if self._parser.head is None:
            return
        if self._is_waiting:
            self._waiting += body
            if len(self._waiting) <= _SENT_AT_ONCE_BYTES:
                return
            body = self._start(None)
        self._exchange.write(body, self._timeout)
        if self._parser.is_complete:
            self._exchange.finish()

    def send(self, data, flags: int = 0) -> int:
        self.sendall(data)
        return len(data)

    write = send

    def _create(self, head: Head) -> None:
        name = f"[{self._host}]" if ":" in self._host else self._host
        authority = name if self._port == 443 else f"{name}:{self._port}"
        host = head.host.lower()
        if host and host not in (authority, f"{name}:{self._port}", f"{name}."):
            raise ValueError(
                f"the Host field must be that of the connection: it is {head.host[:100]!r}, and the "
                f"request is sent to {authority!r}"
            )
        self._exchange = Exchange(
            head.method, head.target, authority, head.fields, self._parser.has_body
        )
        self._is_waiting = True

    def _start(self, first_byte_timeout: float | None) -> bytes:
        """Sends the head. Returns what there is of the body."""
        self._is_waiting = False
        try:
            self._exchange.send(self._connect_timeout, first_byte_timeout)
        except OSError as error:
            raise self._error(error) from None
        body = bytes(self._waiting)
        self._waiting.clear()
        return body

    # The response.

    def recv_into(self, buffer, nbytes: int = 0, flags: int = 0) -> int:
        view = memoryview(buffer).cast("B")
        size = min(nbytes or len(view), len(view))
        if not self._response and size:
            self._response = memoryview(self._next())
        taken = min(size, len(self._response))
        view[:taken] = self._response[:taken]
        self._response = self._response[taken:]
        return taken

    def recv(self, buflen: int = 1024, flags: int = 0) -> bytes:
        if not self._response and buflen:
            self._response = memoryview(self._next())
        taken, self._response = self._response[:buflen], self._response[buflen:]
        return bytes(taken)

    def read(self, len: int = 1024, buffer=None):
        return self.recv(len) if buffer is None else self.recv_into(buffer, len)

    def _next(self) -> bytes:
        if self._is_closed and not self._io_refs:
            raise OSError(9, "the socket is closed")
        if self._invalid is not None or self._exchange is None:
            # Without a request, it is a protocol in which the server speaks first.
            raise self._invalid or _ssl_error(NOT_HTTP)
        if self._has_head:
            return self._exchange.read(self._timeout)
        timeout = self._timeout
        try:
            if self._is_waiting:
                body = self._start(timeout)
                self._exchange.write(body, timeout)
                if self._parser.is_complete:
                    self._exchange.finish()
                # The server's own limits end it.
                timeout = None
            status, fields = self._exchange.head(timeout)
        except OSError as error:
            if getattr(error, "is_of_connection", False):
                raise self._error(error) from None
            raise
        self._has_head = True
        return _head(status, fields)

    # What sockets have besides.

    def makefile(self, *arguments, **keywords):
        return socket.socket.makefile(self, *arguments, **keywords)

    def _decref_socketios(self) -> None:
        self._io_refs -= 1
        if self._is_closed:
            self.close()

    def close(self) -> None:
        self._is_closed = True
        if self._io_refs <= 0 and self._exchange is not None:
            self._exchange.close()

    def __del__(self) -> None:
        if self._exchange is not None:
            close(self._exchange.number)

    def __enter__(self):
        return self

    def __exit__(self, *_) -> None:
        self.close()

    def detach(self) -> int:
        self.close()
        return -1

    def unwrap(self):
        raise _ssl_error(NOT_HTTP)

    def shutdown(self, how: int) -> None:
        if how != socket.SHUT_WR and self._exchange is not None:
            self._exchange.close()

    def settimeout(self, timeout: float | None) -> None:
        self._timeout = timeout

    def gettimeout(self) -> float | None:
        return self._timeout

    @property
    def timeout(self) -> float | None:
        return self._timeout

    def setblocking(self, flag: bool) -> None:
        self._timeout = None if flag else 0.0

    def fileno(self) -> int:
        return -1

    def getpeername(self) -> tuple[str, int]:
        return self._host, self._port

    def getsockname(self) -> tuple[str, int]:
        return "0.0.0.0", 0

    def setsockopt(self, *_) -> None:
        pass

    def getsockopt(self, *_) -> int:
        return 0

    def do_handshake(self, block: bool = False) -> None:
        """Does nothing: the server connects when there is a request."""

    def getpeercert(self, binary_form: bool = False):
        """Returns the name for which the server has checked the certificate."""
        if binary_form:
            raise _ssl_error("the sandbox doesn't see certificates: the server checks them")
        kind = "IP Address" if _is_address(self._host) else "DNS"
        return {"subject": (), "subjectAltName": ((kind, self._host),)}

    @property
    def _sslobj(self):
        """The connection's protocol, of which clients ask the name."""
        return self

    def pending(self) -> int:
        return len(self._response)

    def version(self) -> str:
        return "TLSv1.3"

    def cipher(self):
        return None

    def shared_ciphers(self):
        return None

    def compression(self):
        return None

    def selected_alpn_protocol(self) -> str | None:
        return self._protocol

    def selected_npn_protocol(self):
        return None

    def get_channel_binding(self, cb_type: str = "tls-unique"):
        return None


def _head(status: int, fields: list[tuple[str, bytes]]) -> bytes:
    """Returns the head of a response as HTTP/1.1. It ends with the connection, unless it says its
    length."""
    try:
        reason = http.HTTPStatus(status).phrase
    except ValueError:
        reason = ""
    lines = [f"HTTP/1.1 {status} {reason}\r\n".encode()]
    lines += [
        b"%s: %s\r\n" % (name.encode("latin-1", "replace"), value) for name, value in fields
        if name not in ("connection", "keep-alive", "transfer-encoding")
    ]  # fmt: skip
    return b"".join([*lines, b"connection: close\r\n\r\n"])


def _ssl_error(text: str) -> OSError:
    import ssl

    return ssl.SSLError(1, text)


def _name(host: str) -> str:
    return host.strip("[]").rstrip(".").lower()


def _is_address(host: str) -> bool:
    return ":" in host or host.replace(".", "").isdigit()


def _seconds(timeout) -> float | None:
    """Returns a timeout in which the default is not the standard library's mark."""
    if timeout is None or isinstance(timeout, (int, float)):
        return timeout
    return socket.getdefaulttimeout()


# Clients.


def install() -> None:
    """Arranges for HTTP clients to be changed when they are imported, and imports the binding."""
    for name in _BINDING:
        importlib.import_module(f"wit_world.imports.{name}")
    late.change(_CHANGES)


def _change_http_client(client) -> None:
    def connect(self) -> None:
        """Replaces `http.client.HTTPSConnection.connect`."""
        if self._tunnel_host:
            raise OSError(_NO_PROXY)
        unconnected = UnconnectedSocket(self.host, self.port, self.timeout)
        self.sock = self._context.wrap_socket(unconnected, server_hostname=self.host)

    client.HTTPSConnection.connect = connect


def _change_urllib(request) -> None:
    open_https = request.HTTPSHandler.https_open

    def https_open(self, req):
        """Replaces `urllib.request.HTTPSHandler.https_open`: what fails before there is a
        connection is a `URLError`."""
        try:
            return open_https(self, req)
        except OSError as error:
            if getattr(error, "is_of_connection", False):
                raise request.URLError(error) from error
            raise

    request.HTTPSHandler.https_open = https_open


def _change_urllib3(connection) -> None:
    from urllib3 import exceptions

    def _new_conn(self):
        """Replaces `urllib3.connection.HTTPSConnection._new_conn`."""
        if self._tunnel_host:
            raise exceptions.NewConnectionError(self, _NO_PROXY)

        def error(error: OSError) -> Exception:
            if isinstance(error, connection.BaseSSLError):
                return error
            if isinstance(error, TimeoutError):
                return exceptions.ConnectTimeoutError(self, error.strerror)
            if isinstance(error, socket.gaierror) and hasattr(exceptions, "NameResolutionError"):
                return exceptions.NameResolutionError(self.host, self, error)
            return exceptions.NewConnectionError(self, f"Failed to establish a connection: {error}")

        return UnconnectedSocket(self.host, self.port, self.timeout, error)

    connection.HTTPSConnection._new_conn = _new_conn


def _change_httpcore(connection) -> None:
    import httpcore
    from httpcore._backends.sync import SyncBackend, SyncStream

    connect = connection.HTTPConnection._connect

    class Backend(SyncBackend):
        """Connects by the server."""

        def connect_tcp(self, host, port, timeout=None, local_address=None, socket_options=None):
            return SyncStream(UnconnectedSocket(host, port, timeout, error))

    def error(error: OSError) -> Exception:
        is_timeout = isinstance(error, TimeoutError)
        kind = httpcore.ConnectTimeout if is_timeout else httpcore.ConnectError
        return kind(str(error))

    def _connect(self, request):
        """Replaces `httpcore.HTTPConnection._connect`."""
        backend = self._network_backend
        if self._origin.scheme == b"https" and type(backend) is SyncBackend:
            self._network_backend = Backend()
        try:
            return connect(self, request)
        finally:
            self._network_backend = backend

    connection.HTTPConnection._connect = _connect


_CHANGES = {
    "http.client": _change_http_client,
    "urllib.request": _change_urllib,
    "urllib3.connection": _change_urllib3,
    "httpcore._sync.connection": _change_httpcore,
}
