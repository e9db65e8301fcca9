"""Keeps the views of boots that are not recorded yet from being garbage collected.

A lock on the view's file marks them (flock(2)). It needs neither a database nor room on the disk,
and ends with the process that holds it.
"""

from __future__ import annotations

import fcntl
import os
import threading
import time
from collections import Counter
from contextlib import suppress
from pathlib import Path

POLL_SECONDS = 0.05


class UnrecordedViews:
    """The locks of this process, by view. Any thread may use them."""

    def __init__(self, state: Path) -> None:
        self._state = state
        self._guard = threading.Lock()
        self._counts: Counter[str] = Counter()
        self._locks: dict[str, int] = {}

    def hold(self, view: str) -> None:
        """Hold a view once more. A view without a file cannot be collected, and needs no lock."""
        with self._guard:
            self._counts[view] += 1
            if view not in self._locks:
                with suppress(OSError):
                    self._locks[view] = self._lock(view)

    def _lock(self, view: str) -> int:
        """Lock the view's file; a process that checks for holders locks it alone for
        microseconds."""
        for _ in range(20):
            with suppress(BlockingIOError):
                return _locked(_file(self._state, view), fcntl.LOCK_SH)
            time.sleep(POLL_SECONDS / 5)
        raise BlockingIOError

    def release(self, view: str) -> None:
        """Release a view once; the last release frees it."""
        with self._guard:
            self._counts[view] -= 1
            if self._counts[view] <= 0:
                del self._counts[view]
                descriptor = self._locks.pop(view, None)
                if descriptor is not None:
                    os.close(descriptor)


def unrecorded_views(state: Path) -> set[str]:
    """Return the views that some process holds.

    Ask for them before the leases: a boot is recorded first, and releases its view after that.
    """
    return {file.stem for file in (state / "views").glob("*.json") if _is_held(file)}


def _is_held(file: Path) -> bool:
    try:
        os.close(_locked(file, fcntl.LOCK_EX))
    except BlockingIOError:
        return True
    except OSError:
        return False
    return False


def _file(state: Path, view: str) -> Path:
    return state / "views" / f"{view}.json"


def _locked(file: Path, kind: int) -> int:
    """Return a descriptor that holds the lock; raise BlockingIOError if another process holds
    it."""
    descriptor = os.open(file, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
    try:
        fcntl.flock(descriptor, kind | fcntl.LOCK_NB)
    except OSError:
        os.close(descriptor)
        raise
    return descriptor
