"""Acts on what machines did, once it is recorded. Blocking.

Each record is passed to a list of deciders, and each decider knows which records concern it. If one
of them fails, all of them get the record again later.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Protocol

import structlog
from sqlalchemy.exc import SQLAlchemyError

from storeboot.deploy.inventory import Inventory
from storeboot.errors import StorebootError
from storeboot.hosts.boot import Boot, Event
from storeboot.protocol.orders import Order
from storeboot.protocol.stages import Source, Stage
from storeboot.service.current import Current
from storeboot.service.late import LateRecords

log = structlog.get_logger()


class Decider(Protocol):
    """Is told of boots that have begun, and of events that decide something about a boot."""

    def heard(self, record: Boot | Event) -> None: ...


@dataclass(slots=True)
class Decision:
    """A record on its way through the deciders; `begun` is set once a thread has taken it up."""

    record: Boot | Event
    begun: bool = False


class Decisions:
    """The deciders, in the order in which they are told. Any thread may call."""

    def __init__(
        self, deciders: Sequence[Decider], late: LateRecords, host_of: Callable[[str], str]
    ) -> None:
        """`host_of` returns the host of a boot, or "" if it is not known."""
        self._deciders = tuple(deciders)
        self._late = late
        self._host_of = host_of

    def follow(self, decision: Decision) -> None:
        """Pass a record to all deciders. If one fails, keep the record for another try."""
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
        """Return the record with its host, which may have been unknown when the record came."""
        if isinstance(record, Event) and record.boot is not None and not record.host:
            return replace(record, host=self._host_of(record.boot))
        return record

    def catch_up(self) -> None:
        """Act on the records that were written late."""
        for _ in range(len(self._late)):
            self.follow(Decision(self._late.take()))


class RolloutDecider:
    """Tells rollouts that a machine refuses to restart."""

    def __init__(self, current: Current) -> None:
        self._current = current

    def heard(self, record: Boot | Event) -> None:
        if isinstance(record, Event) and record.boot is not None and record.stage == Stage.REFUSED:
            self._current.inventory.rollouts.refused(record.boot, record.detail)


class DeploymentDecider:
    """Tells deployments of boots and how they end, which starts and decides tests."""

    def __init__(self, current: Current) -> None:
        self._current = current

    def heard(self, record: Boot | Event) -> None:
        tests = self._current.inventory.tests
        if isinstance(record, Boot):
            tests.boot_began(record.host, record.id, record.view, record.began_at)
        elif record.boot is not None:
            apply(self._current.inventory, record.host, record.boot, record)


def apply(inventory: Inventory, host: str, boot: str, event: Event) -> None:
    """Apply an event of a boot to the test of its host.

    A machine whose agent says that it does not come up stays as it is until it is told to reboot.
    An initrd reboots by itself.
    """
    failed = inventory.tests.stage_reached(host, boot, event.stage, event.detail)
    if failed and event.source == Source.AGENT:
        recall(inventory, host, boot)


def recall(inventory: Inventory, host: str, boot: str) -> None:
    """Ask a machine whose test has failed to reboot, unless its host is held."""
    if inventory.holds.get(host) is None:
        inventory.orders.give(boot, Order.REBOOT)
