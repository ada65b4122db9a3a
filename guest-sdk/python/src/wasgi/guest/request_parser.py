"""Reads an HTTP/1.1 request that a client writes, piece by piece: bytes in, its head and the bytes
of its body out. It is strict, so that what the server sends can't differ from what the client
meant (RFC 9112)."""

from __future__ import annotations

import dataclasses
import re

#: The maximum size of a head, in bytes: that of responses.
_HEAD_BYTES_MAX = 64 << 10

#: The maximum length of a line with the size of a chunk, in bytes.
_CHUNK_LINE_BYTES_MAX = 256

_TOKEN = rb"[!#$%&'*+\-.^_`|~0-9A-Za-z]+"
_REQUEST_LINE = re.compile(rb"(%s) (\S+) HTTP/1\.[01]" % _TOKEN)
_FIELD = re.compile(rb"(%s):[ \t]*([^\x00-\x08\x0a-\x1f\x7f]*?)[ \t]*" % _TOKEN)
_START = re.compile(rb"%s( |$)" % _TOKEN)
_LENGTH = re.compile(rb"[0-9]{1,18}")
_CHUNK = re.compile(rb"([0-9A-Fa-f]{1,15})[ \t]*(?:;.*)?")

#: Why nothing else than a request can be sent.
NOT_HTTP = (
    "only HTTPS requests can be encrypted in the sandbox, and this is none: use a connection "
    "without TLS in a private network, or a proxy beside the server that encrypts"
)


@dataclasses.dataclass
class Head:
    """The head of a request."""

    method: str
    target: str
    #: The value of Host, or an empty text.
    host: str
    #: Names and values of all fields.
    fields: list[tuple[bytes, bytes]]


class RequestParser:
    """The state of a request: its head, its body, or complete."""

    def __init__(self) -> None:
        self.head: Head | None = None
        #: Whether the request has a body, which may be empty.
        self.has_body = False
        self.is_complete = False
        self._bytes = bytearray()
        #: What is left of the body or of the chunk, or none between chunks.
        self._left: int | None = 0
        self._is_chunked = self._is_in_trailer = False

    def feed(self, data: bytes) -> tuple[Head | None, bytes]:
        """Takes a piece of a request. Returns its head, if that is complete now, and a part of its
        body.

        Raises:
            ValueError: if it is not a valid request.
        """
        if self.is_complete and data:
            raise ValueError("the connection is for one request, and there is a second one")
        self._bytes += data
        head = None
        if not data:
            return None, b""
        if self.head is None:
            end = self._bytes.find(b"\r\n\r\n")
            if not _START.match(self._bytes[:100].split(b"\r\n")[0]):
                raise ValueError(NOT_HTTP)
            if end < 0 and len(self._bytes) <= _HEAD_BYTES_MAX:
                return None, b""
            if end < 0 or end > _HEAD_BYTES_MAX:
                raise ValueError(f"the head of the request has more than {_HEAD_BYTES_MAX} bytes")
            self.head = head = self._parsed(bytes(self._bytes[:end]))
            del self._bytes[: end + 4]
        return head, self._body()

    def _parsed(self, text: bytes) -> Head:
        first, *lines = text.split(b"\r\n")
        request = _REQUEST_LINE.fullmatch(first)
        if request is None:
            raise ValueError(NOT_HTTP)
        fields = []
        for line in lines:
            field = _FIELD.fullmatch(line)
            if field is None:
                raise ValueError(f"the request has an invalid field: {line[:100]!r}")
            fields.append(field.groups())
        method, target = (part.decode("latin-1") for part in request.groups())
        if method == "CONNECT" or not (target.startswith("/") or target == "*"):
            raise ValueError("HTTPS requests can't be sent to a proxy, or through one")
        self._frame(fields)
        host = _only(fields, b"host") or b""
        return Head(method, target, host.decode("latin-1"), fields)

    def _frame(self, fields: list[tuple[bytes, bytes]]) -> None:
        length, coding = _only(fields, b"content-length"), _only(fields, b"transfer-encoding")
        if _only(fields, b"upgrade") is not None:
            raise ValueError("HTTPS connections can't be upgraded: there are no WebSockets")
        if coding is not None:
            if length is not None or coding.lower() != b"chunked":
                raise ValueError("the request's length must be Content-Length, or chunked")
            self.has_body = self._is_chunked = True
            self._left = None
        elif length is not None:
            if _LENGTH.fullmatch(length) is None:
                raise ValueError(f"the request has an invalid Content-Length: {length[:100]!r}")
            self._left = int(length)
            self.has_body = self._left > 0
        self.is_complete = not self.has_body

    def _body(self) -> bytes:
        """Takes what there is of the body."""
        parts = []
        while not self.is_complete:
            if self._left:
                part = bytes(self._bytes[: self._left])
                if not part:
                    break
                parts.append(part)
                del self._bytes[: len(part)]
                self._left -= len(part)
                if self._left == 0 and not self._is_chunked:
                    self.is_complete = True
            elif not self._chunk():
                break
        if self.is_complete and self._bytes:
            raise ValueError("the request has more bytes than its length says")
        return b"".join(parts)

    def _chunk(self) -> bool:
        """Reads the line behind a chunk, or before one. Returns whether it was there."""
        line, found, _ = self._bytes[: _CHUNK_LINE_BYTES_MAX].partition(b"\r\n")
        if not found:
            if len(self._bytes) >= _CHUNK_LINE_BYTES_MAX:
                raise ValueError("the request has an invalid chunk")
            return False
        del self._bytes[: len(line) + 2]
        if self._is_in_trailer:
            # Trailer fields are not sent.
            self.is_complete = not line
        elif self._left == 0:
            if line:
                raise ValueError("a chunk of the request has another size than it says")
            self._left = None
        else:
            size = _CHUNK.fullmatch(line)
            if size is None:
                raise ValueError("the request has an invalid chunk")
            self._left = int(size[1], 16)
            self._is_in_trailer = self._left == 0
        return True


def _only(fields: list[tuple[bytes, bytes]], name: bytes) -> bytes | None:
    """Returns the value of a field that a request has at most once."""
    values = [value for other, value in fields if other.lower() == name]
    if len(values) > 1:
        raise ValueError(f"the request has several fields {name.decode()}")
    return values[0] if values else None
