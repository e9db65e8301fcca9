"""Machines that asked for a script and match no host, so that they can be adopted."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass

from sqlalchemy import Connection, delete, func, insert, select, update

from storeboot.config import MAC, is_shared, normal_serial, spellings
from storeboot.hosts import rows
from storeboot.hosts.database import Database, DatabaseAwayError
from storeboot.hosts.host import Machine
from storeboot.hosts.schema import unknown

MAX_UNKNOWN = 1000
_MAX_WORD = 64


@dataclass(frozen=True, slots=True)
class UnknownMachine:
    """How the machine identified itself; times in seconds since 1970."""

    mac: str
    uuid: str
    serial: str
    address: str
    first_at: float
    last_at: float


def shared_by(machines: Iterable[UnknownMachine]) -> dict[str, list[str]]:
    """Return the UUIDs and serial numbers that several machines send, each with their MAC
    addresses."""
    found: defaultdict[str, list[str]] = defaultdict(list)
    for each in machines:
        for value in (min(spellings(each.uuid)), normal_serial(each.serial)):
            if value and not is_shared(value):
                found[value].append(each.mac)
    return {value: sorted(macs) for value, macs in sorted(found.items()) if len(macs) > 1}


class UnknownMachines:
    """The table of unknown machines, by MAC address."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def see(self, machine: Machine, address: str, now: float) -> bool:
        """Record an unknown machine; return whether it has identified itself.

        The result does not depend on whether it could be recorded.
        """
        if MAC.fullmatch(machine.mac) is None:
            return False
        memory = self._database.memory
        if memory is not None:
            memory.note_mac(machine.mac)
        said = {
            "uuid": machine.uuid[:_MAX_WORD],
            "serial": machine.serial[:_MAX_WORD],
            "address": address,
            "last_at": now,
        }
        try:
            with self._database.begin(lossy=True) as connection:
                _see(connection, machine.mac, said, now)
        except DatabaseAwayError:
            if memory is None:
                raise
        return True

    def all(self) -> list[UnknownMachine]:
        """Return all of them, the one seen last first."""
        query = select(unknown).order_by(unknown.c.last_at.desc())
        with self._database.connect() as connection:
            return rows.every(connection, UnknownMachine, query)

    def get(self, mac: str) -> UnknownMachine | None:
        with self._database.connect() as connection:
            query = select(unknown).where(unknown.c.mac == mac)
            return rows.first(connection, UnknownMachine, query)

    def has_seen(self, mac: str) -> bool:
        """Return whether a machine with this address has asked, as far as is known."""
        try:
            return self.get(mac) is not None
        except DatabaseAwayError:
            if self._database.memory is None:
                raise
            return mac in self._database.memory.macs

    def forget(self, mac: str) -> None:
        with self._database.begin() as connection:
            connection.execute(delete(unknown).where(unknown.c.mac == mac))


def _see(connection: Connection, mac: str, said: dict[str, object], now: float) -> None:
    own = unknown.c.mac == mac
    if connection.execute(update(unknown).where(own).values(said)).rowcount:
        return
    count = connection.execute(select(func.count()).select_from(unknown)).scalar_one()
    if count >= MAX_UNKNOWN:
        # Somebody who makes up addresses displaces only their own: each machine asks from its own
        # address, and the address from which most have asked loses the oldest.
        asked = func.count().label("asked")
        most = select(unknown.c.address, asked).group_by(unknown.c.address)
        address = connection.execute(
            most.order_by(asked.desc(), func.min(unknown.c.last_at)).limit(1)
        ).scalar()
        oldest = select(unknown.c.mac).where(unknown.c.address == address)
        oldest = oldest.order_by(unknown.c.last_at).limit(count - MAX_UNKNOWN + 1)
        connection.execute(delete(unknown).where(unknown.c.mac.in_(oldest)))
    connection.execute(insert(unknown).values(mac=mac, first_at=now, **said))
