"""Limits how often something is said, because machines ask again and again."""

from __future__ import annotations

import asyncio
from collections.abc import Hashable

SECONDS = 60.0
MAX_KEYS = 1024


class Rarely:
    """Says yes to each key once in `SECONDS`, on the running event loop's clock."""

    def __init__(self) -> None:
        self._said: dict[Hashable, float] = {}

    def now(self, key: Hashable) -> bool:
        """Return whether it is time to say something."""
        at = asyncio.get_running_loop().time()
        if at < self._said.get(key, float("-inf")) + SECONDS:
            return False
        self._said.pop(key, None)
        self._said[key] = at
        if len(self._said) > MAX_KEYS:
            del self._said[next(iter(self._said))]
        return True
