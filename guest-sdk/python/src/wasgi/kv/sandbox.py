"""The server's buckets."""

from __future__ import annotations

from contextlib import contextmanager

from componentize_py_types import Err
from wit_world.imports import atomics, batch, store

from wasgi.kv.errors import AccessDenied, Error, NoSuchStore, of_text


class Bucket:
    """A bucket of the server."""

    def __init__(self, name: str) -> None:
        with _errors():
            self._bucket = store.open(name)

    def get(self, key: str) -> bytes | None:
        with _errors():
            return self._bucket.get(key)

    def set(self, key: str, value: bytes) -> None:
        with _errors():
            self._bucket.set(key, value)

    def delete(self, key: str) -> None:
        with _errors():
            self._bucket.delete(key)

    def exists(self, key: str) -> bool:
        with _errors():
            return self._bucket.exists(key)

    def keys(self, cursor: str | None) -> tuple[list[str], str | None]:
        with _errors():
            page = self._bucket.list_keys(cursor)
        return page.keys, page.cursor

    def increment(self, key: str, delta: int) -> int:
        with _errors():
            return atomics.increment(self._bucket, key, delta)

    def compare_and_swap(self, key: str, expected: bytes | None, value: bytes) -> bool:
        with _errors():
            cas = atomics.Cas.new(self._bucket, key)
            if cas.current() != expected:
                return False
            try:
                atomics.swap(cas, value)
            except Err as error:
                if isinstance(error.value, atomics.CasError_CasFailed):
                    return False
                raise Err(error.value.value) from None
        return True

    def get_many(self, keys: list[str]) -> list[bytes | None]:
        with _errors():
            pairs = batch.get_many(self._bucket, keys)
        return [None if pair is None else pair[1] for pair in pairs]

    def set_many(self, pairs: list[tuple[str, bytes]]) -> None:
        with _errors():
            batch.set_many(self._bucket, pairs)

    def delete_many(self, keys: list[str]) -> None:
        with _errors():
            batch.delete_many(self._bucket, keys)


@contextmanager
def _errors():
    """Raises the binding's errors as those of this package."""
    try:
        yield
    except Err as error:
        raise _error(error.value) from None


def _error(error) -> Error:
    if isinstance(error, store.Error_AccessDenied):
        return AccessDenied(
            "the bucket is not granted to this handler; the server's log has the line to add"
        )
    if isinstance(error, store.Error_NoSuchStore):
        return NoSuchStore("there is no such store")
    return of_text(error.value)
