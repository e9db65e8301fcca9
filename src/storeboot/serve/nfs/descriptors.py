"""How a process divides its descriptors, so that none of its parts can take them all."""

from __future__ import annotations

import os
import resource
from contextlib import suppress

MOST_OPEN_FILES = 512
SPARE = 4
OWN = 32  # of a process: standard streams, event loop, channel, directories while they are read


def limit() -> int:
    """How many descriptors this process may have."""
    return resource.getrlimit(resource.RLIMIT_NOFILE)[0]


def open_files(limit: int) -> int:
    """How many files of the store a process keeps open."""
    return max(4, min(MOST_OPEN_FILES, limit // 8))


def connections(limit: int) -> int:
    """How many connections a process has room for that does nothing but answer NFS."""
    return max(4, limit - open_files(limit) - OWN)


class Spare:
    """Descriptors kept for connections of machines, while the rest of the process has no others."""

    def __init__(self) -> None:
        self._kept: list[int] = []
        self.take_back()

    def give(self) -> bool:
        """Free one of them; whether there was one."""
        if self._kept:
            os.close(self._kept.pop())
            return True
        return False

    def take_back(self) -> None:
        """Have all of them again, as far as there are any to be had."""
        with suppress(OSError):
            while len(self._kept) < SPARE:
                self._kept.append(os.open("/dev/null", os.O_RDONLY | os.O_CLOEXEC))

    def close(self) -> None:
        while self.give():
            pass
