"""Buckets in the memory of the process, for tests outside the sandbox."""

from __future__ import annotations

import threading

from wasgi.kv.errors import NotANumber

#: The number of keys in a page: that of the server.
_PAGE_KEYS = 1_000

#: The range of numbers (64 bits).
_NUMBER_MIN, _NUMBER_MAX = -(1 << 63), (1 << 63) - 1

_buckets: dict[str, dict[str, bytes]] = {}
_lock = threading.RLock()


def clear() -> None:
    """Empties all buckets."""
    with _lock:
        _buckets.clear()


class Bucket:
    """A bucket in memory. All buckets of one name are the same."""

    def __init__(self, name: str) -> None:
        # An empty name means `default`, as for the server.
        self._name = name or "default"

    @property
    def _values(self) -> dict[str, bytes]:
        return _buckets.setdefault(self._name, {})

    def get(self, key: str) -> bytes | None:
        return self._values.get(key)

    def set(self, key: str, value: bytes) -> None:
        self._values[key] = value

    def delete(self, key: str) -> None:
        self._values.pop(key, None)

    def exists(self, key: str) -> bool:
        return key in self._values

    def keys(self, cursor: str | None) -> tuple[list[str], str | None]:
        with _lock:
            # The order of code points is that of the bytes in UTF-8.
            rest = sorted(key for key in self._values if cursor is None or key > cursor)
        page = rest[:_PAGE_KEYS]
        return page, page[-1] if len(rest) > _PAGE_KEYS else None

    def increment(self, key: str, delta: int) -> int:
        with _lock:
            value = self._values.get(key, b"0")
            if not value.removeprefix(b"-").isdigit():
                raise NotANumber("the value is not a number in decimal notation, within 64 bits")
            total = int(value) + delta
            if not _NUMBER_MIN <= total <= _NUMBER_MAX:
                raise NotANumber("the sum is beyond the range of 64 bits")
            self._values[key] = str(total).encode()
            return total

    def compare_and_swap(self, key: str, expected: bytes | None, value: bytes) -> bool:
        with _lock:
            if self._values.get(key) != expected:
                return False
            self._values[key] = value
            return True

    def get_many(self, keys: list[str]) -> list[bytes | None]:
        with _lock:
            return [self._values.get(key) for key in keys]

    def set_many(self, pairs: list[tuple[str, bytes]]) -> None:
        with _lock:
            self._values.update(pairs)

    def delete_many(self, keys: list[str]) -> None:
        with _lock:
            for key in keys:
                self._values.pop(key, None)
