"""Decides what depends only on time: tests without a result, and leases. Blocking."""

from __future__ import annotations

from collections.abc import Callable, Collection

import structlog

from storeboot.deploy.inventory import Inventory
from storeboot.hosts.recorder import Recorder
from storeboot.protocol.stages import Stage
from storeboot.service.decisions import Decisions, apply, recall
from storeboot.service.late import LateRecords

log = structlog.get_logger()


class Settling:
    """Settles tests, but only while no record waits that could decide one of them differently."""

    def __init__(self, recorder: Recorder, late: LateRecords, decisions: Decisions) -> None:
        self._recorder = recorder
        self._late = late
        self._decisions = decisions

    def settle(self, inventory: Inventory, clock: Callable[[], float]) -> None:
        """Fail or confirm the tests whose time is over.

        A machine whose test has failed is asked to reboot, in case it still listens.
        """
        self._decisions.catch_up()
        if self._late or self._recorder.unrecorded().waiting:
            return
        tests = inventory.tests
        for each in tests.unsettled(clock()):
            units = ""
            if each.boot is not None and not each.confirmed:
                units = _catch_up(inventory, each.host, each.boot)
            failed = tests.settle(each.host, now=clock(), units=units)
            if failed is not None and failed.boot is not None:
                log.warning("test.failed", host=failed.host, generation=failed.generation,
                            reason="no multi-user in time", units=units or None)  # fmt: skip
                recall(inventory, failed.host, failed.boot)


def _catch_up(inventory: Inventory, host: str, boot: str) -> str:
    """Apply recorded events to a test; return the units that the machine waits for.

    The server may have stopped after it had recorded an event and before it acted on it.
    """
    events = inventory.boots.events_of(boot)
    for event in events:
        apply(inventory, host, boot, event)
    waits = [event.detail for event in events if event.stage == Stage.WAITING]
    return waits[-1].partition("\n")[0] if waits else ""


def renew(inventory: Inventory, peers: Collection[str], clock: Callable[[], float]) -> None:
    """Note that machines with a connection are running, and forget boots of removed hosts."""
    now = clock()
    inventory.boots.touch_addresses(peers, now)
    # Not earlier: as long as no sign of life is recorded, no lease runs out.
    inventory.state.serving.note()
    registry = inventory.registry
    hosts = {host.name for host in registry.all()} | registry.invalid().keys()
    inventory.boots.forget_others(hosts, now - inventory.lease)


def remember(inventory: Inventory) -> None:
    """Save hosts and open tests, for a start without a database."""
    database = inventory.database
    if database.memory is None or database.is_away:
        return
    inventory.registry.all()
    inventory.deployments.probations.all_open()
    database.memory.save()
