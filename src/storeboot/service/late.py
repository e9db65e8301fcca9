"""Records that were written later than whoever brought them waited; what follows waits as well."""

from __future__ import annotations

from collections import deque

from storeboot.hosts.boot import DECISIVE, Boot, Event

MAX_LATE = 10_000


def decides(record: Boot | Event) -> bool:
    """Whether anything follows from a record."""
    return isinstance(record, Boot) or (record.boot is not None and record.stage in DECISIVE)


class LateRecords:
    """In the order in which they came; any thread may bring them."""

    def __init__(self) -> None:
        self._records: deque[Boot | Event] = deque(maxlen=MAX_LATE)

    def __len__(self) -> int:
        return len(self._records)

    def note(self, record: Boot | Event) -> None:
        """Keep it if anything follows from it."""
        if decides(record):
            self._records.append(record)

    def take(self) -> Boot | Event:
        """Return the oldest, which is kept no more."""
        return self._records.popleft()

    def has_of(self, host: str) -> bool:
        """Whether something of the host waits."""
        return any(each.host == host for each in tuple(self._records))
