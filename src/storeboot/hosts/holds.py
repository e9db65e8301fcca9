"""Hosts that are held: nothing changes what they boot, and no command asks them to restart."""

from __future__ import annotations

from dataclasses import dataclass

from sqlalchemy import delete, insert, select

from storeboot.errors import StorebootError
from storeboot.hosts import rows
from storeboot.hosts.database import Database
from storeboot.hosts.schema import holds


@dataclass(frozen=True, slots=True)
class Hold:
    """The reason of a hold, and its beginning, in seconds since 1970."""

    host: str
    reason: str
    since: float


class Holds:
    """The table of holds."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def hold(self, host: str, reason: str, now: float) -> None:
        with self._database.begin() as connection:
            connection.execute(delete(holds).where(holds.c.host == host))
            connection.execute(insert(holds).values(host=host, reason=reason, since=now))

    def release(self, host: str) -> bool:
        """End the hold of a host; return whether there was one."""
        with self._database.begin() as connection:
            return bool(connection.execute(delete(holds).where(holds.c.host == host)).rowcount)

    def get(self, host: str) -> Hold | None:
        with self._database.connect() as connection:
            return rows.first(connection, Hold, select(holds).where(holds.c.host == host))

    def all(self) -> dict[str, Hold]:
        """Return all holds, by host."""
        with self._database.connect() as connection:
            return {each.host: each for each in rows.every(connection, Hold, select(holds))}

    def refuse(self, host: str) -> None:
        """Raise StorebootError if the host is held."""
        hold = self.get(host)
        if hold is not None:
            raise StorebootError(
                f"host {host!r} is held: {hold.reason}", f"storeboot release {host}"
            )
