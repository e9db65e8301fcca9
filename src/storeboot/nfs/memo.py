"""Caches with a memory limit, used for replies and for directories that were read."""

from __future__ import annotations

from typing import Generic, Protocol, TypeVar


class Costly(Protocol):
    """A value that knows how much memory it takes."""

    @property
    def cost(self) -> int:
        """Return the approximate number of bytes."""
        ...


T = TypeVar("T", bound=Costly)
_OVERHEAD = 200  # approximate bytes of Python objects around a key


class Memo(Generic[T]):
    """Values by key, at most `limit` bytes in total; values that were not used lately are dropped.

    Two generations approximate an order of use: a value that is used moves to the young one, and
    when that is full the old one is dropped. So a hit in the young one, the usual case, costs one
    look-up.
    """

    __slots__ = ("_half", "_old", "_spent", "_young")

    def __init__(self, limit: int) -> None:
        self._half = limit // 2
        self._young: dict[bytes, T] = {}
        self._old: dict[bytes, T] = {}
        self._spent = 0  # bytes of the young ones

    def get(self, key: bytes) -> T | None:
        value = self._young.get(key)
        if value is None:
            value = self._old.pop(key, None)
            if value is not None:
                self.put(key, value)
        return value

    def put(self, key: bytes, value: T) -> None:
        """Store a value. The newest value stays, whatever its size."""
        cost = value.cost + len(key) + _OVERHEAD
        known = self._young.pop(key, None)
        if known is not None:
            self._spent -= known.cost + len(key) + _OVERHEAD
        if self._young and self._spent + cost > self._half:
            self._old, self._young, self._spent = self._young, {}, 0
        self._young[key] = value
        self._spent += cost

    def drop(self, key: bytes) -> None:
        """Remove a value, if it is there."""
        self._old.pop(key, None)
        known = self._young.pop(key, None)
        if known is not None:
            self._spent -= known.cost + len(key) + _OVERHEAD

    def __len__(self) -> int:
        return len(self._young) + len(self._old)
