"""What frameworks expect of CPython and this one, compiled for the sandbox, does not have."""

from __future__ import annotations

import hashlib
import hmac
import io
import tempfile


def install() -> None:
    """Fills the gaps. To be called before the application is imported."""
    tempfile.TemporaryFile = _temporary_file
    if not hasattr(hashlib, "pbkdf2_hmac"):
        hashlib.pbkdf2_hmac = pbkdf2_hmac


def pbkdf2_hmac(hash_name, password, salt, iterations, dklen=None) -> bytes:
    """`hashlib.pbkdf2_hmac` (RFC 8018 section 5.2), which needs OpenSSL in CPython.

    Some twenty times slower, so an application has to ask for fewer iterations than elsewhere.
    """
    length = hashlib.new(hash_name).digest_size if dklen is None else dklen
    if iterations < 1 or length < 1:
        raise ValueError("iterations and dklen are to be greater than 0")
    keyed = hmac.new(bytes(password), digestmod=hash_name)
    derived = b""
    block = 0
    while len(derived) < length:
        block += 1
        derived += _pbkdf2_block(keyed, bytes(salt) + block.to_bytes(4, "big"), iterations)
    return derived[:length]


def _pbkdf2_block(keyed, text: bytes, iterations: int) -> bytes:
    total = 0
    for _ in range(iterations):
        mac = keyed.copy()
        mac.update(text)
        text = mac.digest()
        total ^= int.from_bytes(text, "big")
    return total.to_bytes(len(text), "big")


def _temporary_file(mode="w+b", buffering=-1, encoding=None, newline=None, *_, errors=None, **__):
    """A `tempfile.TemporaryFile` in memory: a large upload stays within the handler's budget or
    ends it."""
    if "b" in mode:
        return io.BytesIO()
    return io.TextIOWrapper(io.BytesIO(), encoding or "utf-8", errors, newline)
