"""Records that were written after their callers had stopped waiting, and are not acted on yet."""

from __future__ import annotations

from collections import deque

from storeboot.hosts.boot import Boot, Event
from storeboot.protocol.stages import DECISIVE

MAX_LATE = 10_000


def decides(record: Boot | Event) -> bool:
    """Return whether anything follows from a record."""
    return isinstance(record, Boot) or (record.boot is not None and record.stage in DECISIVE)


class LateRecords:
    """A bounded queue, oldest first. Any thread may add to it."""

    def __init__(self) -> None:
        self._records: deque[Boot | Event] = deque(maxlen=MAX_LATE)

    def __len__(self) -> int:
        return len(self._records)

    def note(self, record: Boot | Event) -> None:
        """Keep a record if anything follows from it."""
        if decides(record):
            self._records.append(record)

    def take(self) -> Boot | Event:
        """Remove and return the oldest record."""
        return self._records.popleft()

    def has_of(self, host: str) -> bool:
        """Return whether a record of the host waits."""
        return any(each.host == host for each in tuple(self._records))
