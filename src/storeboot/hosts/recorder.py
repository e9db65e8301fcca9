"""Records what machines do: one thread writes many records in one transaction.

A record waits in memory until it is on disk. Its caller is soon told whether that has happened, and
need not care: no boot depends on it. While the database is unreachable, a limited number of records
wait. Records that have to be dropped are counted: lines of the timeline go first, the oldest before
others, then what decides something, and boots last.
"""

from __future__ import annotations

import threading
from collections import Counter, deque
from collections.abc import Callable, Collection, Iterable
from concurrent.futures import Future, InvalidStateError
from dataclasses import dataclass, field
from functools import partial
from typing import Protocol

import structlog
from sqlalchemy import Connection

from storeboot.hosts import records
from storeboot.hosts.boot import Boot, Event
from storeboot.hosts.database import Database, DatabaseAwayError
from storeboot.protocol.stages import DECISIVE

log = structlog.get_logger()

PROBE_SECONDS = 1.0  # between two probes of an unreachable database
BATCH = 500  # records in one transaction
MAX_BOOTS = 5000  # that wait, of all hosts together
MAX_HOST_BOOTS = 50  # of one host
MAX_EVENTS = 20_000  # of each of the two kinds
MAX_LOOSE = 100  # of one host, without a boot
MAX_SIGNS = 20_000
MAX_DETAIL = 16 << 20  # characters of all events that wait


class Views(Protocol):
    """Keeps views from garbage collection while boots that use them are not recorded."""

    def hold(self, view: str) -> None: ...

    def release(self, view: str) -> None: ...


@dataclass(frozen=True, slots=True)
class Unrecorded:
    """The number of records that wait, and of those lost since the start, by kind."""

    waiting: dict[str, int]
    lost: dict[str, int]

    def __bool__(self) -> bool:
        return bool(self.waiting or self.lost)


@dataclass(slots=True, eq=False)
class _Record:
    """A boot or an event. `told` becomes True once it is written, or False if it cannot be for
    now."""

    what: Boot | Event
    number: int
    told: Future[bool] = field(default_factory=Future)


class Recorder:
    """A queue and a thread. Any thread may add records."""

    def __init__(
        self,
        database: Database,
        views: Views,
        connected: Callable[[], Collection[str]] = frozenset,
        on_late: Callable[[Boot | Event], None] = lambda _record: None,
    ) -> None:
        """`connected` returns the addresses that read the store.

        `on_late` is called, in the writing thread, with each record that is written after its
        caller had already been told that it was not.
        """
        self._database = database
        self._views = views
        self._connected = connected
        self._on_late = on_late
        self._changed = threading.Condition(threading.RLock())
        self._boots: deque[_Record] = deque()
        self._decisive: deque[_Record] = deque()
        self._timeline: deque[_Record] = deque()
        self._signs: dict[str, float] = {}
        self._spoken: set[str] = set()
        self._signs_told: Future[bool] = Future()
        self._writing: list[_Record] = []
        self._lost: Counter[str] = Counter()
        self._number = 0
        self._detail = 0
        self._loose: Counter[str] = Counter()  # waiting events without a boot, by host
        self._stopping = False
        self._thread: threading.Thread | None = None

    # Adding records.

    def begin(self, boot: Boot) -> Future[bool]:
        """Record that a boot has begun. Its view is held until the record is on disk."""
        with self._changed:
            self._views.hold(boot.view)
            record = self._append(self._boots, boot)
            waiting = [each.what for each in self._boots if isinstance(each.what, Boot)]
            of_host = [each for each in waiting if each.host == boot.host]
            for victim in records.victims(of_host, self._connected(), MAX_HOST_BOOTS):
                self._drop(self._boots, partial(_is_boot, boot=victim))
            if len(self._boots) > MAX_BOOTS:
                self._drop(self._boots, lambda _each: True)
            return record.told

    def record(self, event: Event) -> Future[bool]:
        """Record an event."""
        with self._changed:
            queue = self._decisive if event.stage in DECISIVE else self._timeline
            record = self._append(queue, event)
            self._detail += len(event.detail)
            if event.boot is None:
                self._loose[event.host] += 1
                if self._loose[event.host] > MAX_LOOSE:
                    self._drop(queue, partial(_is_loose, host=event.host))
            if len(queue) > MAX_EVENTS:
                self._drop(queue, lambda _each: True)
            while self._detail > MAX_DETAIL and (self._timeline or self._decisive):
                self._drop(self._timeline or self._decisive, lambda _each: True)
            return record.told

    def sign(self, boot: str, at: float) -> Future[bool]:
        """Record that a boot's machine has shown that it is running."""
        with self._changed:
            self._spoken.add(boot)
            self._signs[boot] = max(at, self._signs.get(boot, at))
            while len(self._signs) > MAX_SIGNS:
                oldest = next(iter(self._signs))
                del self._signs[oldest]
                self._spoken.discard(oldest)
                self._lost["signs"] += 1
            told = self._signs_told
            if self._database.is_away:
                return _done(False)
            self._changed.notify()
            return told

    def _append(self, queue: deque[_Record], what: Boot | Event) -> _Record:
        self._number += 1
        record = _Record(what, self._number)
        queue.append(record)
        if self._database.is_away:
            _tell(record.told, written=False)
        else:
            self._changed.notify()
        return record

    def _drop(self, queue: deque[_Record], which: Callable[[_Record], bool]) -> None:
        """Drop the oldest record for which `which` is true."""
        record = next((each for each in queue if which(each)), None)
        if record is None:
            return
        queue.remove(record)
        self._give_up(record)

    def _give_up(self, record: _Record) -> None:
        self._lost[_kind(record.what)] += 1
        self._settled(record)
        _tell(record.told, written=False)

    def _settled(self, record: _Record) -> None:
        """Release what a record held while it waited."""
        if isinstance(record.what, Boot):
            self._views.release(record.what.view)
            return
        self._detail -= len(record.what.detail)
        if record.what.boot is None:
            self._loose[record.what.host] -= 1
            if not self._loose[record.what.host]:
                del self._loose[record.what.host]

    # Reading what waits.

    def unrecorded(self) -> Unrecorded:
        with self._changed:
            waiting = Counter(_kind(each.what) for each in self._all())
            waiting["signs"] += len(self._signs)
            return Unrecorded(dict(+waiting), dict(+self._lost))

    def boots(self) -> list[Boot]:
        """Return the boots that wait, in the order in which they began."""
        with self._changed:
            return [each.what for each in self._all() if isinstance(each.what, Boot)]

    def _all(self) -> Iterable[_Record]:
        return (*self._writing, *self._boots, *self._decisive, *self._timeline)

    # The thread.

    def start(self) -> None:
        self._thread = threading.Thread(target=self._run, name="recorder", daemon=True)
        self._thread.start()

    def stop(self, seconds: float) -> None:
        """Write what can be written, then end. Blocks for at most `seconds`."""
        with self._changed:
            self._stopping = True
            self._changed.notify()
        if self._thread is not None:
            self._thread.join(seconds)
        left = self.unrecorded().waiting
        if left:
            log.error("records.lost_at_the_end", **left)

    def _run(self) -> None:
        while True:
            more = self.work()
            with self._changed:
                if self._stopping and not more:
                    return
                if not more and (self._database.is_away or not self._has_work()):
                    self._changed.wait(PROBE_SECONDS)

    def _has_work(self) -> bool:
        return bool(self._boots or self._decisive or self._timeline or self._signs)

    def work(self) -> bool:
        """Do one step: probe an unreachable database, or write what waits in one transaction.

        Return whether there may be more to do.
        """
        if self._database.is_away and not self._database.probe():
            self._tell_all()
            return False
        batch, signs, spoken, told = self._take()
        if not batch and not signs:
            return False
        try:
            self._write(batch, signs, spoken)
        except DatabaseAwayError:
            self._put_back(batch, signs, spoken)
            _tell(told, written=False)
            return False
        except Exception as error:  # including a record that the driver cannot even send
            log.error("records.refused", reason=str(error))
            if not self._one_by_one(batch, signs, spoken):
                _tell(told, written=False)
                return False
        _tell(told, written=True)
        return True

    def _take(self) -> tuple[list[_Record], dict[str, float], set[str], Future[bool]]:
        """Return the oldest waiting records: boots first, because events belong to them."""
        with self._changed:
            batch = _popped(self._boots, BATCH)
            left = BATCH - len(batch)
            events = _popped(self._decisive, left)
            events += _popped(self._timeline, left - len(events))
            batch += sorted(events, key=lambda each: each.number)
            signs, self._signs = self._signs, {}
            spoken, self._spoken = self._spoken, set()
            told, self._signs_told = self._signs_told, Future()
            self._writing = batch
            return batch, signs, spoken, told

    def _put_back(self, batch: list[_Record], signs: dict[str, float], spoken: set[str]) -> None:
        with self._changed:
            self._writing = []
            for record in sorted(batch, key=lambda each: -each.number):
                self._queue_of(record).appendleft(record)
            self._signs = {**signs, **self._signs}
            self._spoken |= spoken
        self._tell_all()

    def _queue_of(self, record: _Record) -> deque[_Record]:
        if isinstance(record.what, Boot):
            return self._boots
        return self._decisive if record.what.stage in DECISIVE else self._timeline

    def _tell_all(self) -> None:
        """Tell all callers that their records are not written now: the database is unreachable."""
        with self._changed:
            waiting = list(self._all())
            told, self._signs_told = self._signs_told, Future()
        for record in waiting:
            _tell(record.told, written=False)
        _tell(told, written=False)

    def _write(self, batch: list[_Record], signs: dict[str, float], spoken: set[str]) -> None:
        boots = [each.what for each in batch if isinstance(each.what, Boot)]
        events = [each.what for each in batch if isinstance(each.what, Event)]
        # A power cut may cost some lines of the timeline, but never a lease.
        with self._database.begin(lossy=not boots) as connection:
            forgotten = self._write_all(connection, boots, events)
            records.write_signs(connection, signs, spoken)
        with self._changed:
            self._writing = []
            self._lost["events"] += forgotten
            for record in batch:
                self._settled(record)
        for record in batch:
            if not _tell(record.told, written=True):
                self._on_late(record.what)

    def _write_all(self, connection: Connection, boots: list[Boot], events: list[Event]) -> int:
        connected = self._connected() if boots else ()
        for boot in boots:
            records.keep_boot(connection, boot, connected)
        return records.write_events(connection, events) if events else 0

    def _one_by_one(self, batch: list[_Record], signs: dict[str, float], spoken: set[str]) -> bool:
        """Write the others if one record is refused; return whether the database stayed
        reachable."""
        left = deque(batch)
        while left:
            record = left.popleft()
            try:
                self._write([record], {}, set())
            except DatabaseAwayError:
                self._put_back([record, *left], signs, spoken)
                return False
            except Exception as error:
                log.error("records.one_refused", kind=_kind(record.what), reason=str(error))
                with self._changed:
                    self._give_up(record)
            with self._changed:
                self._writing = list(left)
        try:
            self._write([], signs, spoken)
        except DatabaseAwayError:
            self._put_back([], signs, spoken)
            return False
        except Exception as error:
            log.error("records.one_refused", kind="signs", reason=str(error))
        return True


def _popped(queue: deque[_Record], count: int) -> list[_Record]:
    return [queue.popleft() for _ in range(min(count, len(queue)))]


def _is_boot(record: _Record, boot: str) -> bool:
    return isinstance(record.what, Boot) and record.what.id == boot


def _is_loose(record: _Record, host: str) -> bool:
    return isinstance(record.what, Event) and record.what.boot is None and record.what.host == host


def _kind(what: Boot | Event) -> str:
    return "boots" if isinstance(what, Boot) else "events"


def _tell(told: Future[bool], *, written: bool) -> bool:
    """Tell a caller whether its record is written; return whether it still waited for this."""
    try:
        told.set_result(written)
    except InvalidStateError:  # told before, or no longer waited for
        return False
    return True


def _done(written: bool) -> Future[bool]:
    told: Future[bool] = Future()
    told.set_result(written)
    return told
