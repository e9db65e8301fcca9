"""Caches under a memory cap, which both the replies and the directories that were read need."""

from __future__ import annotations

from typing import Generic, Protocol, TypeVar


class Costly(Protocol):
    """A value that knows the memory it takes."""

    @property
    def cost(self) -> int:
        """Return bytes, about."""
        ...


T = TypeVar("T", bound=Costly)
_OVERHEAD = 200  # bytes of Python objects around a key


class Memo(Generic[T]):
    """Values by bytes, of `limit` bytes together, the longest unused ones dropped.

    Two generations stand for an order of use: what is asked moves to the young one, and when that
    is full the old one goes. A hit in the young one, the usual case, then costs one look-up.
    """

    __slots__ = ("_half", "_old", "_spent", "_young")

    def __init__(self, limit: int) -> None:
        self._half = limit // 2
        self._young: dict[bytes, T] = {}
        self._old: dict[bytes, T] = {}
        self._spent = 0  # bytes, by the young ones

    def get(self, key: bytes) -> T | None:
        value = self._young.get(key)
        if value is None:
            value = self._old.pop(key, None)
            if value is not None:
                self.put(key, value)
        return value

    def put(self, key: bytes, value: T) -> None:
        """Keep a value; the last one put stays, whatever it takes."""
        cost = value.cost + len(key) + _OVERHEAD
        known = self._young.pop(key, None)
        if known is not None:
            self._spent -= known.cost + len(key) + _OVERHEAD
        if self._young and self._spent + cost > self._half:
            self._old, self._young, self._spent = self._young, {}, 0
        self._young[key] = value
        self._spent += cost

    def drop(self, key: bytes) -> None:
        """Forget a value, if it is there."""
        self._old.pop(key, None)
        known = self._young.pop(key, None)
        if known is not None:
            self._spent -= known.cost + len(key) + _OVERHEAD

    def __len__(self) -> int:
        return len(self._young) + len(self._old)
