"""What is written down of machines, without any of them waiting for it.

A handler brings a boot, an event or a sign of life and waits for the database a short while, so
that whoever asks after the answer finds it. Then the machine goes on, and the record waits alone.
What follows from a record (a test passes, a rollout goes on) is decided once it is written.
"""

from __future__ import annotations

import asyncio
import threading
import time
from collections import OrderedDict, deque
from collections.abc import Callable, Collection
from concurrent.futures import Future
from typing import TypeVar

import structlog
from sqlalchemy.exc import SQLAlchemyError

from storeboot.deploy.inventory import Inventory
from storeboot.deploy.unrecorded import UnrecordedViews
from storeboot.errors import StorebootError
from storeboot.hosts.boot import DECISIVE, REFUSED, Boot, Event
from storeboot.hosts.database import Database, DatabaseAwayError
from storeboot.hosts.recorder import Recorder, Unrecorded
from storeboot.serve.threads import Threads

log = structlog.get_logger()
T = TypeVar("T")

# So long a record, and what follows from it, is waited for. The initrd asks again after ten
# seconds; an agent that has told something goes on after five, whatever it is answered.
BOOT_SECONDS = 6.0
EVENT_SECONDS = 20.0
STOP_SECONDS = 5.0
MAX_KNOWN = 10_000  # boots that are remembered
MAX_LATE = 10_000  # records whose decision waits
TELL_SECONDS = 60.0


class Bookkeeping:
    """Boots that are known, and records on their way to the database."""

    def __init__(
        self, inventory: Inventory, threads: Threads, connected: Callable[[], Collection[str]]
    ) -> None:
        self._inventory = inventory
        self._threads = threads
        self._views = UnrecordedViews(inventory.state.path)
        self._recorder = Recorder(inventory.database, self._views, connected, self._note_late)
        self._guard = threading.Lock()
        self._known: OrderedDict[str, Boot] = OrderedDict()
        self._nonces: OrderedDict[str, str] = OrderedDict()  # boots by nonce
        self._spoken: OrderedDict[str, None] = OrderedDict()
        self._late: deque[Boot | Event] = deque(maxlen=MAX_LATE)
        self._told_at = float("-inf")
        self._told_lost: dict[str, int] = {}

    def use(self, inventory: Inventory) -> None:
        """Another configuration; the database is the same."""
        self._inventory = inventory

    @property
    def database(self) -> Database:
        return self._inventory.database

    def start(self) -> None:
        self._recorder.start()

    def stop(self) -> None:
        """Blocking; what cannot be written within some seconds is lost, and said."""
        self._recorder.stop(STOP_SECONDS)

    def unrecorded(self) -> Unrecorded:
        return self._recorder.unrecorded()

    @property
    def is_quiet(self) -> bool:
        """Whether nothing waits that may decide a test."""
        return not self._late and not self._recorder.unrecorded().waiting

    # Boots; these block.

    def boot(self, identity: str) -> Boot | None:
        """The boot of that id; as it is remembered where the database is away.

        DatabaseAwayError if it is not known, and might be.
        """
        waiting = next((each for each in self._recorder.boots() if each.id == identity), None)
        if waiting is not None:
            return waiting
        try:
            found = self._inventory.boots.get(identity)
        except DatabaseAwayError:
            with self._guard:
                known = self._known.get(identity)
            if known is None:
                raise
            return known
        if found is not None:
            self._remember(found)
        return found

    def latest(self, host: str) -> Boot | None:
        """The host's newest boot, as far as is known."""
        waiting = [each for each in self._recorder.boots() if each.host == host]
        if waiting:
            return waiting[-1]
        try:
            return self._inventory.boots.latest(host)
        except DatabaseAwayError:
            with self._guard:
                of_host = [each for each in self._known.values() if each.host == host]
            return max(of_host, key=lambda each: each.began_at, default=None)

    def begin(self, boot: Boot) -> tuple[Boot, Future[bool] | None]:
        """The boot, or the one that the same nonce has begun; and what tells when it is written.

        Its view is held from here on.
        """
        try:
            written = self._inventory.boots.by_nonce(boot.nonce)
        except DatabaseAwayError:
            written = None
        if written is not None:
            self._remember(written)
            return written, None
        with self._guard:
            known = self._known.get(self._nonces.get(boot.nonce, ""), boot)
            self._put(known)
            # Again, should it have had to make room for others: it is the one that is told of.
            return known, self._recorder.begin(known)

    def _remember(self, boot: Boot) -> None:
        with self._guard:
            self._put(boot)

    def _put(self, boot: Boot) -> None:
        _keep(self._known, boot.id, boot)
        _keep(self._nonces, boot.nonce, boot.id)

    def is_replay(self, boot: Boot) -> bool:
        """Once the machine has gone on, its first answer, keys included, is not given again."""
        return boot.spoken or boot.id in self._spoken

    # Records.

    async def began(self, boot: Boot, told: Future[bool] | None) -> None:
        """Wait until a boot is written, and decide what follows from it."""
        if told is not None:
            await self._settle(told, boot, BOOT_SECONDS)

    async def record(self, event: Event, seconds: float = EVENT_SECONDS) -> None:
        """Write an event down, and decide what follows from it."""
        if event.is_machines and event.boot is not None:
            _keep(self._spoken, event.boot, None)
        await self._settle(self._recorder.record(event), event, seconds)

    async def _settle(self, told: Future[bool], record: Boot | Event, seconds: float) -> None:
        end = time.monotonic() + seconds
        if await _written(told, seconds):
            await self._decide(record, max(0.1, end - time.monotonic()))

    async def sign(self, boot: str, at: float) -> None:
        """The boot's machine has spoken."""
        _keep(self._spoken, boot, None)
        await _written(self._recorder.sign(boot, at), BOOT_SECONDS)

    # Decisions.

    async def _decide(self, record: Boot | Event, seconds: float) -> None:
        if not _decides(record):
            return
        if any(each.host == record.host for each in tuple(self._late)):
            self._late.append(record)  # what came before it is not decided yet
            return
        begun = threading.Event()
        try:
            await self._threads.deciding.run(seconds, self._follow, record, begun)
        except TimeoutError:
            log.warning("records.slow_decision", host=record.host)
            if not begun.is_set():  # else it goes on by itself
                self._late.append(record)

    def _note_late(self, record: Boot | Event) -> None:
        if _decides(record):
            self._late.append(record)

    def _follow(self, record: Boot | Event, begun: threading.Event | None = None) -> None:
        """What a record means for tests and rollouts. If that fails it is tried again later."""
        if begun is not None:
            begun.set()
        try:
            self._follow_now(record)
        except (StorebootError, SQLAlchemyError, OSError) as error:
            log.error("records.undecided", host=record.host, reason=str(error))
            self._late.append(record)

    def _follow_now(self, record: Boot | Event) -> None:
        deployments = self._inventory.deployments
        if isinstance(record, Boot):
            deployments.boot_began(record.host, record.id, record.view, record.began_at)
        elif record.boot is not None:
            host = record.host or self._host_of(record.boot)
            if record.stage == REFUSED:
                self._inventory.rollouts.refused(record.boot, record.detail)
            deployments.stage_reached(host, record.boot, record.stage, record.detail)

    def _host_of(self, boot: str) -> str:
        found = self.boot(boot)
        return found.host if found is not None else ""

    def catch_up(self) -> None:
        """Decide what was written late; blocking."""
        for _ in range(len(self._late)):
            self._follow(self._late.popleft())

    def tell(self) -> None:
        """What could not be written, once a minute."""
        now, missing, away = time.monotonic(), self.unrecorded(), self.database.away
        is_new = away is not None or missing.lost != self._told_lost
        if not is_new or now < self._told_at + TELL_SECONDS:
            return
        self._told_at, self._told_lost = now, missing.lost
        log.error("records.not_written", reason=away.reason if away is not None else None,
                  waiting=missing.waiting, lost=missing.lost)  # fmt: skip


def _decides(record: Boot | Event) -> bool:
    return isinstance(record, Boot) or (record.boot is not None and record.stage in DECISIVE)


def _keep(table: OrderedDict[str, T], key: str, value: T) -> None:
    table[key] = value
    table.move_to_end(key)
    while len(table) > MAX_KNOWN:
        table.popitem(last=False)


async def _written(told: Future[bool], seconds: float) -> bool:
    """Whether it was written in time."""
    try:
        async with asyncio.timeout(seconds):
            return await asyncio.wrap_future(told)
    except TimeoutError:
        return False
