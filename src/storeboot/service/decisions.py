"""What follows from what machines do, decided once it is written down. Blocking.

A record is told to a list of those who decide, and each knows by itself what concerns it. If one
of them fails, all are told again later.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Protocol

import structlog
from sqlalchemy.exc import SQLAlchemyError

from storeboot.errors import StorebootError
from storeboot.hosts.boot import REFUSED, Boot, Event
from storeboot.service.current import Current
from storeboot.service.late import LateRecords

log = structlog.get_logger()


class Decider(Protocol):
    """Hears of boots that have begun, and of events that decide something of a boot."""

    def heard(self, record: Boot | Event) -> None: ...


@dataclass(slots=True)
class Decision:
    """A record on its way through the deciders; `begun` once it does not end unheeded."""

    record: Boot | Event
    begun: bool = False


class Decisions:
    """The deciders, in the order in which they hear. Any thread may call."""

    def __init__(
        self, deciders: Sequence[Decider], late: LateRecords, host_of: Callable[[str], str]
    ) -> None:
        """`host_of` is the host of a boot, "" if nobody knows it."""
        self._deciders = tuple(deciders)
        self._late = late
        self._host_of = host_of

    def follow(self, decision: Decision) -> None:
        """Tell all of a record; if that fails it is tried again later."""
        decision.begun = True
        record = decision.record
        try:
            whole = self._whole(record)
            for decider in self._deciders:
                decider.heard(whole)
        except (StorebootError, SQLAlchemyError, OSError) as error:
            log.error("records.undecided", host=record.host, reason=str(error))
            self._late.note(record)

    def _whole(self, record: Boot | Event) -> Boot | Event:
        """With its host, where only the boot was known when it came."""
        if isinstance(record, Event) and record.boot is not None and not record.host:
            return replace(record, host=self._host_of(record.boot))
        return record

    def catch_up(self) -> None:
        """Decide what was written late."""
        for _ in range(len(self._late)):
            self.follow(Decision(self._late.take()))


class RolloutDecider:
    """A machine that was asked to restart says no."""

    def __init__(self, current: Current) -> None:
        self._current = current

    def heard(self, record: Boot | Event) -> None:
        if isinstance(record, Event) and record.boot is not None and record.stage == REFUSED:
            self._current.inventory.rollouts.refused(record.boot, record.detail)


class DeploymentDecider:
    """A boot uses a test up; what becomes of the boot decides the test."""

    def __init__(self, current: Current) -> None:
        self._current = current

    def heard(self, record: Boot | Event) -> None:
        deployments = self._current.inventory.deployments
        if isinstance(record, Boot):
            deployments.boot_began(record.host, record.id, record.view, record.began_at)
        elif record.boot is not None:
            deployments.stage_reached(record.host, record.boot, record.stage, record.detail)
