"""Divides a process's file descriptors, so that none of its parts can use up all of them."""

from __future__ import annotations

import os
import resource
from contextlib import suppress

MOST_OPEN_FILES = 512
SPARE = 4
OWN = 32  # standard streams, event loop, channel, directories that are being read


def limit() -> int:
    """Return how many file descriptors this process may have."""
    return resource.getrlimit(resource.RLIMIT_NOFILE)[0]


def open_files(limit: int) -> int:
    """Return how many files of the store a process keeps open."""
    return max(4, min(MOST_OPEN_FILES, limit // 8))


def connections(limit: int) -> int:
    """Return how many connections a process has room for that only answers NFS."""
    return max(4, limit - open_files(limit) - OWN)


class Spare:
    """File descriptors reserved for machines' connections, for when the process has no others
    left."""

    def __init__(self) -> None:
        self._kept: list[int] = []
        self.take_back()

    def give(self) -> bool:
        """Free one of them; return whether there was one."""
        if self._kept:
            os.close(self._kept.pop())
            return True
        return False

    def take_back(self) -> None:
        """Reserve as many of them again as the kernel gives."""
        with suppress(OSError):
            while len(self._kept) < SPARE:
                self._kept.append(os.open("/dev/null", os.O_RDONLY | os.O_CLOEXEC))

    def close(self) -> None:
        while self.give():
            pass
