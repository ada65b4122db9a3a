"""`hashlib.pbkdf2_hmac` and `hashlib.scrypt`, for which CPython needs OpenSSL, which the sandbox
doesn't have.

Both are compiled (`guest-sdk/python/native`) in a module that is linked into the component. Without
it, `pbkdf2_hmac` uses a Python implementation that is about a hundred times slower, and there is no
`scrypt`.
"""

from __future__ import annotations

import hashlib
import hmac

try:
    from wasgi.guest import _native
except ImportError:
    _native = None

#: The hashes that the compiled `pbkdf2_hmac` supports.
_COMPILED = frozenset(["sha1", "sha224", "sha256", "sha384", "sha512"])

#: The default memory limit of `hashlib.scrypt`, in bytes: that of OpenSSL.
_SCRYPT_BYTES_MAX = 32 << 20

#: The maximum size of a handler's memory, in bytes.
_MEMORY_BYTES = (1 << 31) - 1


def install() -> None:
    """Adds the missing functions to `hashlib`."""
    if not hasattr(hashlib, "pbkdf2_hmac"):
        hashlib.pbkdf2_hmac = pbkdf2_hmac
    if not hasattr(hashlib, "scrypt") and _native is not None:
        hashlib.scrypt = scrypt


def pbkdf2_hmac(hash_name, password, salt, iterations, dklen=None) -> bytes:
    """Implements `hashlib.pbkdf2_hmac` (RFC 8018 section 5.2)."""
    if not isinstance(hash_name, str):
        raise TypeError(f"hash_name must be str, not {type(hash_name).__name__}")
    name = hash_name.lower().replace("-", "")
    length = hashlib.new(hash_name).digest_size if dklen is None else dklen
    if iterations < 1:
        raise ValueError("iteration value must be greater than 0.")
    if length < 1:
        raise ValueError("key length must be greater than 0.")
    password, salt = _bytes(password, "password"), _bytes(salt, "salt")
    if _native is not None and name in _COMPILED:
        return _native.pbkdf2_hmac(name.encode(), password, salt, iterations, length)
    keyed = hmac.new(password, digestmod=hash_name)
    derived = b""
    block = 0
    while len(derived) < length:
        block += 1
        derived += _pbkdf2_block(keyed, salt + block.to_bytes(4, "big"), iterations)
    return derived[:length]


def scrypt(password, *, salt, n, r, p, maxmem=0, dklen=64) -> bytes:
    """Implements `hashlib.scrypt` (RFC 7914)."""
    password, salt = _bytes(password, "password"), _bytes(salt, "salt")
    if n < 2 or n & (n - 1):
        raise ValueError("n must be a power of 2.")
    if r < 1 or p < 1 or r * p >= 1 << 30 or dklen < 1:
        raise ValueError("Invalid parameter combination for n, r, p, maxmem.")
    needed = 128 * r * (n + p + 2)
    if needed > (maxmem or _SCRYPT_BYTES_MAX) or needed > _MEMORY_BYTES:
        raise ValueError("Invalid parameter combination for n, r, p, maxmem: memory limit exceeded")
    # Allocates and frees the memory, so that a lack of it is a MemoryError: in compiled code it
    # would end the instance.
    bytearray(needed)
    return _native.scrypt(password, salt, n.bit_length() - 1, r, p, dklen)


def _bytes(value, name: str) -> bytes:
    if isinstance(value, str):
        raise TypeError(f"{name}: a bytes-like object is required, not 'str'")
    return bytes(memoryview(value))


def _pbkdf2_block(keyed, text: bytes, iterations: int) -> bytes:
    total = 0
    for _ in range(iterations):
        mac = keyed.copy()
        mac.update(text)
        text = mac.digest()
        total ^= int.from_bytes(text, "big")
    return total.to_bytes(len(text), "big")
