"""Follows the kernels and initrds that machines download: how far each is, and whether it is whole.

A file counts as fetched when its last byte was sent. Until then the machine's own acknowledgements
say how far it is. No I/O, no clock.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field

from storeboot.hosts.boot import Event
from storeboot.hosts.host import Host
from storeboot.protocol.stages import Source, Stage

SLOW = 20.0  # seconds after which a download is mentioned
AGAIN = 60.0  # seconds until it is mentioned again
STALLED = 30.0  # seconds without another byte, after which it has stopped
FORGOTTEN = 600.0  # seconds without another byte, after which it is not watched any more
MAX_PARTS = 64  # of one file; machines ask for one or two
Part = tuple[int, int]  # the first byte, and the one after the last
Arrived = Callable[[], Part | None]  # the bytes that one answer has brought so far, or None


@dataclass(slots=True, eq=False)
class Download:
    """A file on its way to a host, in one answer or in several; times in seconds since 1970."""

    host: Host
    stage: str  # kernel or initrd
    view: str
    address: str  # of the machine that asked first
    size: int  # bytes
    began_at: float
    moved_at: float  # when the last byte is known to have arrived
    parts: list[Part] = field(default_factory=list)  # of answers that have ended; disjoint
    answers: list[Arrived] = field(default_factory=list)  # under way
    arrived: int = 0  # bytes, when somebody last looked
    is_told: bool = False  # whether its end was reported
    told_at: float = float("-inf")
    has_stopped: bool = False  # whether it was reported to have stopped

    @property
    def is_whole(self) -> bool:
        """Return whether every byte was sent in answers that have ended."""
        return _count(self.parts) >= self.size

    def ends(self, arrived: Arrived, part: Part | None, now: float) -> bool:
        """Note that an answer has ended, and what it has brought.

        Return whether the file is whole because of that.
        """
        self.answers.remove(arrived)
        if part is not None:
            self.parts = _merged([*self.parts, part])[:MAX_PARTS]
        self._look(now)
        if self.is_told or not self.is_whole:
            return False
        self.is_told = True
        return True

    def _look(self, now: float) -> None:
        parts = [part for part in (answer() for answer in self.answers) if part is not None]
        arrived = min(self.size, _count(_merged([*self.parts, *parts])))
        if arrived != self.arrived:
            self.arrived, self.moved_at, self.has_stopped = arrived, now, False

    def look(self, now: float) -> Event | None:
        """Return the event to report if the download is slow or has stopped, or None."""
        self._look(now)
        if now - self.moved_at > STALLED:
            if self.has_stopped:
                return None
            self.has_stopped = True
            return self._event(Stage.SILENT, now, self._stopped(now))
        if now - self.began_at < SLOW or now - self.told_at < AGAIN:
            return None
        self.told_at = now
        words = f"{self._so_far} after {now - self.began_at:.0f} s"
        return self._event(Stage.DOWNLOAD, now, words)

    def _event(self, stage: Stage, now: float, words: str) -> Event:
        return Event(self.host.name, Source.SERVER, stage, now, detail=words)

    @property
    def _so_far(self) -> str:
        share = 100 * self.arrived // self.size if self.size else 100
        return (
            f"{self.stage}: {self.arrived / 1e6:.1f} of {self.size / 1e6:.1f} MB ({share} %) "
            f"have arrived"
        )

    def _stopped(self, now: float) -> str:
        how = (
            "and the machine still waits for the rest"
            if self.answers
            else ("then the machine ended the download")
        )
        return (
            f"{self._so_far}, {how}; nothing has come since {now - self.moved_at:.0f} s: look at "
            f"the machine's screen, its cable and its memory"
        )


class Downloads:
    """At most one kernel and one initrd for each known host."""

    def __init__(self) -> None:
        self._downloads: dict[tuple[str, str], Download] = {}

    def begins(self, new: Download, arrived: Arrived, *, is_anew: bool) -> Download:
        """Note an answer that begins, and return the download that it belongs to.

        A machine that asks for a part continues; one that asks for the whole file (`is_anew`) has
        thrown away what it had.
        """
        place = new.host.name, new.stage
        old = self._downloads.get(place)
        same = old is not None and (old.view, old.size) == (new.view, new.size)
        download = old if old is not None and same and not is_anew and not old.is_told else new
        self._downloads[place] = download
        download.answers.append(arrived)
        return download

    def look(self, now: float) -> Iterator[Event]:
        """Check on all downloads, and yield the events to report."""
        for place, download in list(self._downloads.items()):
            if download.is_told or now - download.moved_at > FORGOTTEN:
                del self._downloads[place]
                continue
            event = download.look(now)
            if event is not None:
                yield event


def _merged(parts: Iterable[Part]) -> list[Part]:
    """Return the parts, sorted and without overlaps."""
    merged: list[Part] = []
    for start, end in sorted(part for part in parts if part[0] < part[1]):
        if merged and start <= merged[-1][1]:
            merged[-1] = merged[-1][0], max(merged[-1][1], end)
        else:
            merged.append((start, end))
    return merged


def _count(parts: Iterable[Part]) -> int:
    return sum(end - start for start, end in parts)
