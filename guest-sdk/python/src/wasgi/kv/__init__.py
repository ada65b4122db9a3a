"""Keys and values that outlive the request: `wasi:keyvalue`.

The server's operator grants a handler buckets, in `wasgi.toml`:

    [handlers.guestbook]
    key-value = ["default"]

The handler opens them by name:

    from wasgi import kv

    bucket = kv.open("default")

    def app(environ, start_response):
        visits = bucket.increment("visits")
        start_response("200 OK", [("Content-Type", "text/plain")])
        return [f"You are visitor number {visits}.\\n".encode()]

An operation that returns is done, also if the machine fails right after it. Each one is atomic. To
change a value that depends on the old one, use `Bucket.increment` or `Bucket.update`: between a
`get` and a `set`, another request may change the value.

Outside the sandbox, buckets are in the memory of the process, and every bucket is granted, so that
applications can be tested as usual. `wasgi.kv.memory.clear()` empties them.
"""

from __future__ import annotations

import importlib.util
from collections.abc import Callable, Iterable, Iterator, Mapping

from wasgi.guest import phase
from wasgi.kv.errors import (
    AccessDenied, Error, LimitExceeded, NoSuchStore, NotANumber, Unavailable,
)  # fmt: skip

if importlib.util.find_spec("componentize_py_runtime"):
    from wasgi.kv import sandbox as _backend
else:
    from wasgi.kv import memory as _backend

__all__ = [
    "AccessDenied", "Bucket", "Error", "LimitExceeded", "NoSuchStore", "NotANumber", "Unavailable",
    "open",
]  # fmt: skip

#: The maximum number of keys in a batch (the server's).
_BATCH_KEYS_MAX = 1_000

#: The maximum size of a value, and of the values of a batch together, in bytes: the server accepts
#: no larger ones, whatever its limits are.
_VALUES_BYTES_MAX = 4 << 20

#: The maximum length of a key, in bytes: the server accepts no longer ones, whatever its limits are.
_KEY_BYTES_MAX = 16 << 10

#: The range of numbers (64 bits).
_NUMBER_MIN, _NUMBER_MAX = -(1 << 63), (1 << 63) - 1


def open(name: str = "default") -> Bucket:
    """Opens a bucket by the name under which it is granted.

    A bucket that is opened while the application is imported is really opened by the first
    operation of each request.

    Raises:
        AccessDenied: if the bucket is not granted.
    """
    return Bucket(name)


class Bucket:
    """A bucket of keys and values. Keys are text; values are bytes.

    All operations raise `AccessDenied` if the bucket is not granted, `LimitExceeded` if a key, a
    value, a batch or the bucket would be larger than the server allows, and `Unavailable` if the
    store can't be used. A write that raises `Unavailable` may have been executed or not.
    """

    def __init__(self, name: str = "default") -> None:
        _text(name, "the name of a bucket")
        self.name = name
        self._opened = None if phase.is_loading else _backend.Bucket(name)

    def __repr__(self) -> str:
        return f"<wasgi.kv.Bucket {self.name!r}>"

    @property
    def _bucket(self):
        if self._opened is None:
            if phase.is_loading:
                raise Unavailable(
                    "buckets can't be used while the application is imported, only by requests"
                )
            self._opened = _backend.Bucket(self.name)
        return self._opened

    def get(self, key: str) -> bytes | None:
        """Returns the value of a key, or none if it doesn't exist."""
        return self._bucket.get(_key(key))

    def get_text(self, key: str) -> str | None:
        """Returns the value of a key as text, or none if it doesn't exist.

        Raises:
            UnicodeDecodeError: if the value is not UTF-8.
        """
        value = self.get(key)
        return None if value is None else value.decode()

    def set(self, key: str, value: bytes | str) -> None:
        """Sets the value of a key. Text is stored as UTF-8."""
        self._bucket.set(_key(key), _value(value))

    def delete(self, key: str) -> None:
        """Deletes a key, if it exists."""
        self._bucket.delete(_key(key))

    def exists(self, key: str) -> bool:
        """Returns whether a key exists."""
        return self._bucket.exists(_key(key))

    def keys(self) -> Iterator[str]:
        """Returns all keys, in the order of their bytes. They are requested in pages, so that keys
        that are set or deleted meanwhile may be among them or not."""
        cursor = None
        while True:
            page, cursor = self._bucket.keys(cursor)
            yield from page
            if cursor is None:
                return

    def increment(self, key: str, delta: int = 1) -> int:
        """Adds to the number that a key has as its value, in decimal notation, and returns the sum.
        A key that doesn't exist counts as 0.

        Raises:
            NotANumber: if the value is not a number, or the sum is beyond the range of 64 bits.
        """
        if not isinstance(delta, int):
            raise TypeError(f"the delta must be an int, not {type(delta).__name__}")
        if not _NUMBER_MIN <= delta <= _NUMBER_MAX:
            raise NotANumber("the delta is beyond the range of 64 bits")
        return self._bucket.increment(_key(key), int(delta))

    def compare_and_swap(
        self, key: str, expected: bytes | str | None, value: bytes | str
    ) -> bool:
        """Sets the value of a key if it is `expected`, where none means that the key doesn't exist.
        Returns whether the value was set."""
        if expected is not None:
            expected = _bytes(expected)
        return self._bucket.compare_and_swap(_key(key), expected, _value(value))

    def update(self, key: str, change: Callable[[bytes | None], bytes | str]) -> bytes:
        """Changes the value of a key: calls `change` with the old value, and again if another
        request has changed it in the meantime. Returns the new value."""
        while True:
            old = self.get(key)
            new = _value(change(old))
            if self.compare_and_swap(key, old, new):
                return new

    def get_many(self, keys: Iterable[str]) -> list[bytes | None]:
        """Returns the values of up to 1,000 keys, in their order."""
        return self._bucket.get_many(_batch(keys))

    def set_many(self, pairs: Mapping[str, bytes | str] | Iterable[tuple[str, bytes | str]]) -> None:
        """Sets the values of up to 1,000 keys, of all or of none."""
        pairs = pairs.items() if isinstance(pairs, Mapping) else pairs
        taken, total = [], 0
        for key, value in pairs:
            taken.append((_key(key), _value(value)))
            total += len(taken[-1][1])
            _check_count(len(taken))
            if total > _VALUES_BYTES_MAX:
                raise LimitExceeded(
                    f"the values of the batch have {total} bytes or more; "
                    f"the limit is {_VALUES_BYTES_MAX}"
                )
        self._bucket.set_many(taken)

    def delete_many(self, keys: Iterable[str]) -> None:
        """Deletes up to 1,000 keys, those that exist."""
        self._bucket.delete_many(_batch(keys))


def _batch(keys: Iterable[str]) -> list[str]:
    if isinstance(keys, str):
        raise TypeError("the keys must be a list of str, not a str")
    taken = []
    for key in keys:
        taken.append(_key(key))
        _check_count(len(taken))
    return taken


def _check_count(count: int) -> None:
    if count > _BATCH_KEYS_MAX:
        raise LimitExceeded(f"the batch has {count} keys or more; the limit is {_BATCH_KEYS_MAX}")


def _key(key: str) -> str:
    length = len(_text(key, "a key"))
    if length > _KEY_BYTES_MAX:
        raise LimitExceeded(
            f"the key has {length} bytes; the limit is state.key-size, at most {_KEY_BYTES_MAX}"
        )
    return key


def _text(text: str, what: str) -> bytes:
    """Checks that a text can be encoded, and returns its bytes."""
    if not isinstance(text, str):
        raise TypeError(f"{what} must be a str, not {type(text).__name__}")
    try:
        return text.encode()
    except UnicodeEncodeError as error:
        raise ValueError(f"{what} must be valid Unicode: {error}") from None


def _value(value: bytes | str) -> bytes:
    value = _bytes(value)
    if len(value) > _VALUES_BYTES_MAX:
        raise LimitExceeded(
            f"the value has {len(value)} bytes; the limit is state.value-size, "
            f"at most {_VALUES_BYTES_MAX}"
        )
    return value


def _bytes(value: bytes | str) -> bytes:
    if isinstance(value, str):
        return _text(value, "a value")
    if isinstance(value, (bytes, bytearray, memoryview)):
        return bytes(value)
    raise TypeError(f"a value must be bytes or str, not {type(value).__name__}")
