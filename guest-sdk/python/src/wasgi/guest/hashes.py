"""What CPython's `hashlib` takes from OpenSSL, which the sandbox doesn't have: `pbkdf2_hmac`,
`scrypt`, and the names that `hashlib.new` knows besides CPython's, such as `SHA-256`.

`pbkdf2_hmac` and `scrypt` are compiled (`guest-sdk/python/native`) in a module that is linked into
the component. Without it, `pbkdf2_hmac` uses a Python implementation that is about a hundred times
slower, and there is no `scrypt`.
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

_LENGTHS = (224, 256, 384, 512)

#: CPython's names of hashes by OpenSSL's, which may be in any case.
_OPENSSL_NAMES = {
    "md5": "md5", "ssl3-md5": "md5",
    "sha1": "sha1", "sha-1": "sha1", "ssl3-sha1": "sha1",
    **{f"sha{front}{bits}": f"sha{bits}" for front in ("", "-", "2-") for bits in _LENGTHS},
    **{f"sha3-{bits}": f"sha3_{bits}" for bits in _LENGTHS},
    **{f"shake{dash}{bits}": f"shake_{bits}" for dash in ("", "-") for bits in (128, 256)},
    "blake2b512": "blake2b", "blake2s256": "blake2s",
}  # fmt: skip

_builtin_new = hashlib.new


def install() -> None:
    """Adds the missing functions and names to `hashlib`."""
    if hashlib.new is _builtin_new and not hasattr(hashlib, "pbkdf2_hmac"):
        hashlib.new = new
    if not hasattr(hashlib, "pbkdf2_hmac"):
        hashlib.pbkdf2_hmac = pbkdf2_hmac
    if not hasattr(hashlib, "scrypt") and _native is not None:
        hashlib.scrypt = scrypt


def new(name, *arguments, **keywords):
    """Implements `hashlib.new` with OpenSSL's names in addition to CPython's."""
    try:
        return _builtin_new(name, *arguments, **keywords)
    except ValueError:
        known = canonical(name)
        if known is None or known == name:
            raise
    return _builtin_new(known, *arguments, **keywords)


def canonical(name: object) -> str | None:
    """Returns CPython's name of the hash that OpenSSL calls by this name, or none."""
    return _OPENSSL_NAMES.get(name.lower()) if isinstance(name, str) else None


def pbkdf2_hmac(hash_name, password, salt, iterations, dklen=None) -> bytes:
    """Implements `hashlib.pbkdf2_hmac` (RFC 8018 section 5.2)."""
    if not isinstance(hash_name, str):
        raise TypeError(f"hash_name must be str, not {type(hash_name).__name__}")
    name = canonical(hash_name) or hash_name
    length = new(name).digest_size if dklen is None else dklen
    if iterations < 1:
        raise ValueError("iteration value must be greater than 0.")
    if length < 1:
        raise ValueError("key length must be greater than 0.")
    password, salt = _bytes(password, "password"), _bytes(salt, "salt")
    if _native is not None and name in _COMPILED:
        return _native.pbkdf2_hmac(name.encode(), password, salt, iterations, length)
    keyed = hmac.new(password, digestmod=name)
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
