"""Records what machines do, without making them wait for it.

A handler passes on a boot, an event or a sign of life, and waits a short while for the database, so
that a question asked after the answer finds the record. Then the machine carries on, and the record
waits by itself. What follows from a record (a test passes, a rollout continues) is decided once the
record is written.
"""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import Future

import structlog

from storeboot.hosts.boot import Boot, Event
from storeboot.hosts.recorder import Recorder, Unrecorded
from storeboot.service.decisions import Decision, Decisions
from storeboot.service.happenings import Happening
from storeboot.service.known_boots import KnownBoots
from storeboot.service.late import LateRecords, decides
from storeboot.service.waits import is_written
from storeboot.service.work import Work

log = structlog.get_logger()

BOOT_SECONDS = 6.0  # for a boot that begins: the initrd asks again after ten
STOP_SECONDS = 5.0
TELL_SECONDS = 60.0


class Bookkeeping:
    """Passes records to the database, then to the deciders. It is a listener."""

    def __init__(
        self,
        recorder: Recorder,
        boots: KnownBoots,
        late: LateRecords,
        decisions: Decisions,
        work: Work,
        monotonic: Callable[[], float],
    ) -> None:
        """`monotonic` returns seconds of a clock that is never set."""
        self._recorder = recorder
        self._boots = boots
        self._late = late
        self._decisions = decisions
        self._work = work
        self._monotonic = monotonic
        self._told_at = float("-inf")
        self._told_lost: dict[str, int] = {}

    def start(self) -> None:
        self._recorder.start()

    def stop(self) -> None:
        """Stop recording. Blocking for some seconds; what is not written by then is lost, and
        logged."""
        self._recorder.stop(STOP_SECONDS)

    def unrecorded(self) -> Unrecorded:
        return self._recorder.unrecorded()

    async def heard(self, happening: Happening) -> tuple[()]:
        """Record an event, and decide what follows from it."""
        event = happening.event
        if event.is_machines and event.boot is not None:
            self._boots.spoke(event.boot, event.at)
        await self._settle(self._recorder.record(event), event, happening.patience)
        return ()

    async def began(self, boot: Boot, told: Future[bool] | None) -> None:
        """Wait until a boot is recorded, and decide what follows from it."""
        if told is not None:
            await self._settle(told, boot, BOOT_SECONDS)

    async def sign(self, boot: str, at: float) -> None:
        """Record that the boot's machine has sent something."""
        self._boots.spoke(boot, at)
        await is_written(self._recorder.sign(boot, at), BOOT_SECONDS)

    async def _settle(self, told: Future[bool], record: Boot | Event, seconds: float) -> None:
        end = self._monotonic() + seconds
        if await is_written(told, seconds):
            await self._decide(record, max(0.1, end - self._monotonic()))

    async def _decide(self, record: Boot | Event, seconds: float) -> None:
        if not decides(record):
            return
        if self._late.has_of(record.host):
            self._late.note(record)  # an earlier record of the host is not decided yet
            return
        decision = Decision(record)
        try:
            await self._work.deciding.run(seconds, self._decisions.follow, decision)
        except TimeoutError:
            log.warning("records.slow_decision", host=record.host)
            if not decision.begun:  # otherwise the thread will finish it
                self._late.note(record)

    def tell(self) -> None:
        """Log, at most once a minute, which records could not be written."""
        now, missing, away = self._monotonic(), self.unrecorded(), self._work.database.away
        is_new = away is not None or missing.lost != self._told_lost
        if not is_new or now < self._told_at + TELL_SECONDS:
            return
        self._told_at, self._told_lost = now, missing.lost
        log.error("records.not_written", reason=away.reason if away is not None else None,
                  waiting=missing.waiting, lost=missing.lost)  # fmt: skip
