"""Machines that asked for a script and are no host's, so that one of them can be adopted."""

from __future__ import annotations

from dataclasses import dataclass

from sqlalchemy import Engine, case, delete, func, insert, select, update

from storeboot.config import MAC
from storeboot.hosts.host import Machine
from storeboot.hosts.schema import unknown

MAX_UNKNOWN = 1000  # whoever sends made-up addresses displaces the oldest, and fills no disk
_MAX_WORD = 64


@dataclass(frozen=True, slots=True)
class UnknownMachine:
    """What it said of itself; times in seconds since 1970."""

    mac: str
    uuid: str
    serial: str
    address: str
    first_at: float
    last_at: float


class UnknownMachines:
    """The table, by MAC address."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine

    def see(self, machine: Machine, address: str, now: float) -> bool:
        """Whether it has said who it is."""
        if MAC.fullmatch(machine.mac) is None:
            return False
        said = {
            "uuid": machine.uuid[:_MAX_WORD],
            "serial": machine.serial[:_MAX_WORD],
            "address": address,
            "last_at": now,
        }
        own = unknown.c.mac == machine.mac
        with self._engine.begin() as connection:
            if connection.execute(update(unknown).where(own).values(said)).rowcount:
                return True
            count = connection.execute(select(func.count()).select_from(unknown)).scalar_one()
            if count >= MAX_UNKNOWN:
                # Those that asked once only go first: they may be made up.
                once = case((unknown.c.last_at > unknown.c.first_at, 1), else_=0)
                oldest = select(unknown.c.mac).order_by(once, unknown.c.last_at).limit(1)
                connection.execute(delete(unknown).where(unknown.c.mac.in_(oldest)))
            connection.execute(insert(unknown).values(mac=machine.mac, first_at=now, **said))
        return True

    def all(self) -> list[UnknownMachine]:
        """The last that was seen first."""
        query = select(unknown).order_by(unknown.c.last_at.desc())
        with self._engine.connect() as connection:
            return [UnknownMachine(**row._mapping) for row in connection.execute(query)]

    def get(self, mac: str) -> UnknownMachine | None:
        with self._engine.connect() as connection:
            row = connection.execute(select(unknown).where(unknown.c.mac == mac)).first()
        return UnknownMachine(**row._mapping) if row is not None else None

    def forget(self, mac: str) -> None:
        with self._engine.begin() as connection:
            connection.execute(delete(unknown).where(unknown.c.mac == mac))
