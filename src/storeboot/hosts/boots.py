"""Queries and changes of boots and their events."""

from __future__ import annotations

from collections.abc import Iterable

from sqlalchemy import and_, delete, false, func, or_, select, union, update

from storeboot.hosts import records, rows
from storeboot.hosts.boot import SUPERSEDED, Boot, Event
from storeboot.hosts.database import Database
from storeboot.hosts.host import MAX_BASE
from storeboot.hosts.schema import boots, events
from storeboot.protocol.stages import Stage

__all__ = ["Boot", "Boots", "Event"]

FORGET = 200
MAX_LOOSE = 100  # events without a boot that are searched for a boot's beginning


class Boots:
    """The two tables, with one method for each question."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def begin(self, boot: Boot, connected: Iterable[str] = ()) -> Boot:
        """Record a boot and return it; a repeated nonce returns the boot that was recorded
        before."""
        with self._database.begin() as connection:
            return records.write_boot(connection, boot, set(connected))

    def by_nonce(self, nonce: str) -> Boot | None:
        with self._database.connect() as connection:
            return rows.first(connection, Boot, select(boots).where(boots.c.nonce == nonce))

    def hosts(self) -> set[str]:
        """Return the names of the hosts that have begun a boot."""
        with self._database.connect() as connection:
            return set(connection.execute(select(boots.c.host).distinct()).scalars())

    def count_like(self, host: str, now: float) -> int:
        """Return how many boots of unknown machines have booted like a host.

        This first forgets boots that have ended and are silent, and boots that began an hour ago
        and were never heard of again.
        """
        of_guests = and_(boots.c.host.like(f"{host[:MAX_BASE]}-{'_' * 12}"), boots.c.host != host)
        silent_since = or_(boots.c.ended_by == Stage.SHUTDOWN, boots.c.seen_at <= boots.c.ended_at)
        over = and_(boots.c.ended_at < now - SUPERSEDED, silent_since)
        silent = and_(boots.c.seen_at < boots.c.began_at + 60, boots.c.seen_at < now - 3600)
        with self._database.begin() as connection:
            connection.execute(delete(boots).where(of_guests, or_(over, silent)))
            query = select(func.count()).select_from(boots).where(of_guests)
            return connection.execute(query).scalar_one()

    def forget_others(self, hosts: set[str], before: float) -> None:
        """Forget boots and events of hosts that no longer exist, if they are from before `before`.

        It forgets a limited number of hosts at a time, so that no other transaction waits long.
        """
        with self._database.begin() as connection:
            old = select(boots.c.host).where(boots.c.seen_at < before)
            seen = select(events.c.host).where(events.c.at < before)
            gone = sorted(set(connection.execute(union(old, seen)).scalars()) - hosts)[:FORGET]
            connection.execute(
                delete(boots).where(boots.c.host.in_(gone), boots.c.seen_at < before)
            )
            connection.execute(delete(events).where(events.c.host.in_(gone), events.c.at < before))

    def newest(self, host: str, count: int) -> set[str]:
        """Return the ids of the boots that were heard of most recently."""
        query = select(boots.c.id).where(boots.c.host == host).order_by(boots.c.seen_at.desc())
        with self._database.connect() as connection:
            return set(connection.execute(query.limit(count)).scalars())

    def get(self, boot_id: str) -> Boot | None:
        with self._database.connect() as connection:
            return rows.first(connection, Boot, select(boots).where(boots.c.id == boot_id))

    def latest(self, host: str) -> Boot | None:
        query = select(boots).where(boots.c.host == host).order_by(boots.c.began_at.desc())
        with self._database.connect() as connection:
            return rows.first(connection, Boot, query.limit(1))

    def touch(self, boot_id: str, now: float) -> None:
        with self._database.begin(lossy=True) as connection:
            records.write_signs(connection, {boot_id: now})

    def touch_addresses(self, addresses: Iterable[str], now: float) -> None:
        """Record a sign of life for the boots at these addresses, which hold an NFS connection.

        This applies to boots that have not ended, and to a superseded one if it is the newest at
        its address.
        """
        query = (
            select(boots.c.id, boots.c.address, boots.c.ended_at)
            .where(boots.c.address.in_(list(addresses)))
            .where(boots.c.ended_by.is_distinct_from(Stage.SHUTDOWN))
            .order_by(boots.c.began_at)
        )
        with self._database.begin(lossy=True) as connection:
            found = connection.execute(query).all()
            newest = {row.address: row.id for row in found}
            alive = [
                row.id for row in found if row.ended_at is None or newest[row.address] == row.id
            ]
            connection.execute(update(boots).where(boots.c.id.in_(alive)).values(seen_at=now))

    def prolong(self, seconds: float, since: float) -> None:
        """Add `seconds` to the time of the last sign of life, for open boots heard of after
        `since`."""
        with self._database.begin() as connection:
            connection.execute(
                update(boots)
                .where(boots.c.seen_at > since, boots.c.ended_at.is_(None))
                .values(seen_at=boots.c.seen_at + seconds)
            )

    def leases(self, now: float, lease: float) -> list[Boot]:
        """Return the boots that hold their views, ordered by host; `lease` is in seconds."""
        query = select(boots).where(boots.c.seen_at > now - lease).order_by(boots.c.host)
        with self._database.connect() as connection:
            found = rows.every(connection, Boot, query)
        return [boot for boot in found if boot.holds(now, lease)]

    def end(self, boot_id: str, now: float) -> None:
        with self._database.begin() as connection:
            records.end(connection, boot_id, now)

    def record(self, event: Event) -> None:
        """Record an event. An event of a boot is also a sign of life."""
        with self._database.begin(lossy=True) as connection:
            records.write_events(connection, [event])

    def events_since(self, host: str, since: float) -> list[Event]:
        query = select(events).where(events.c.host == host, events.c.at >= since)
        with self._database.connect() as connection:
            return rows.every(connection, Event, query.order_by(events.c.id))

    def lately(self, host: str, boot: str | None) -> list[Event]:
        """Return the events of a boot, and those of its host last before it or without a boot."""
        own = events.c.boot == boot if boot is not None else false()
        loose = (
            select(events.c.id)
            .where(events.c.host == host, events.c.boot.is_(None))
            .order_by(events.c.id.desc())
            .limit(MAX_LOOSE)
        )
        query = select(events).where(events.c.host == host, or_(own, events.c.id.in_(loose)))
        with self._database.connect() as connection:
            return rows.every(connection, Event, query.order_by(events.c.id))

    def events_of(self, boot_id: str) -> list[Event]:
        query = select(events).where(events.c.boot == boot_id).order_by(events.c.id)
        with self._database.connect() as connection:
            return rows.every(connection, Event, query)
