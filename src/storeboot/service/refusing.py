"""Keeps the last refusals for the operator, and writes them to the log, within limits.

Anyone on the network can be refused as often as they like, and can make up MAC addresses. This
cannot fill memory, the database or the log: refusals are in memory only, their number is limited,
and an address that asks in many names displaces only its own.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from dataclasses import replace

import structlog
from sqlalchemy.exc import SQLAlchemyError

from storeboot.config import MAC
from storeboot.deploy.inventory import Inventory
from storeboot.errors import StorebootError
from storeboot.hosts import words
from storeboot.hosts.host import Host, Machine
from storeboot.hosts.refusals import Refusal, almost
from storeboot.protocol.stages import Source
from storeboot.service.current import Current
from storeboot.service.refusals import BusyError, RefusedError
from storeboot.service.work import Work

log = structlog.get_logger()
MAX_ASKERS = 200
LOG_SECONDS = 60.0  # between two lines about one asker
MAX_LINES = 60  # in that time, about all of them
MAX_LINES_OF_ADDRESS = 10  # in that time, about those that ask from one address
_MAX_REASON = 300  # characters


class Refusing:
    """The last refusal of each asker. For the event loop only."""

    def __init__(self, current: Current, work: Work) -> None:
        self._current = current
        self._work = work
        self._last: dict[str, Refusal] = {}  # by asker, the latest at the end
        self._lines: dict[str, Refusal] = {}  # by asker, what was logged in the last minute
        self._unlogged = 0  # askers for whom the log had no room

    def all(self) -> list[Refusal]:
        """Return the refusals, the latest first."""
        return list(reversed(self._last.values()))

    def settle(self, machine: Machine) -> None:
        """Forget the refusal of a machine that has got what it asked for."""
        self._last.pop(machine.mac, None)

    async def note(self, machine: Machine, address: str, error: RefusedError, now: float) -> None:
        """Note that a machine was refused, and log it unless it was logged lately."""
        mac = machine.mac if MAC.fullmatch(machine.mac) else ""
        reason = words.line(str(error), _MAX_REASON)
        new = Refusal(mac, address, now, reason, error.host, first_at=now)
        last = self._last.pop(new.asker, None)
        if last is not None:
            new = replace(new, first_at=last.first_at, count=last.count + 1, like=last.like)
        self._last[new.asker] = new
        self._make_room()
        if self._has_line_for(new):
            self._lines[new.asker] = new
            await self._tell(new)

    def _make_room(self) -> None:
        """Drop the oldest refusal of the address from which most have asked."""
        while len(self._last) > MAX_ASKERS:
            counts = Counter(each.address for each in self._last.values())
            most = max(counts.values())
            victim = next(
                asker for asker, each in self._last.items() if counts[each.address] == most
            )
            del self._last[victim]

    def _has_line_for(self, refusal: Refusal) -> bool:
        lines = {
            asker: line
            for asker, line in self._lines.items()
            if refusal.at - LOG_SECONDS < line.at <= refusal.at  # the clock may be set back
        }
        self._lines = lines
        if refusal.asker in lines:
            return False
        of_address = sum(line.address == refusal.address for line in lines.values())
        if len(lines) < MAX_LINES and of_address < MAX_LINES_OF_ADDRESS:
            return True
        self._unlogged += 1
        return False

    async def _tell(self, refusal: Refusal) -> None:
        """Log a refusal, with the host that may have been meant."""
        like = ""
        if not refusal.host:
            try:
                like = await self._work.ask(meant, self._current.inventory, refusal.mac)
            except (StorebootError, SQLAlchemyError, BusyError, TimeoutError):
                like = refusal.like  # a suggestion is not worth an error
        told = replace(refusal, like=like)
        if self._last.get(told.asker) is refusal:
            self._last[told.asker] = told
        log.warning("machine.refused", mac=told.mac or None, address=told.address,
                    host=told.host or None, reason=told.text, count=told.count,
                    unlogged=self._unlogged or None)  # fmt: skip
        self._unlogged = 0


def meant(inventory: Inventory, mac: str) -> str:
    """Return the only host that an unknown MAC address can be a mistyped one of, or "". Blocking.

    Machines that were bought together often differ in one digit, so a host whose own machine has
    asked is not meant.
    """
    hosts = almost(mac, inventory.registry.all())
    found = list(_unseen(inventory, hosts))
    return found[0].name if len(found) == 1 else ""


def _unseen(inventory: Inventory, hosts: Iterable[Host]) -> Iterable[Host]:
    for host in hosts:
        events = inventory.boots.lately(host.name, None)
        asked = any(event.source == Source.SERVER for event in events)
        if not asked and inventory.boots.latest(host.name) is None:
            yield host
