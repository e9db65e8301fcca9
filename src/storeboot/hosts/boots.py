"""Boots and their events, written as they happen."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass

from sqlalchemy import (
    Connection,
    Engine,
    Row,
    Update,
    and_,
    delete,
    false,
    func,
    insert,
    not_,
    or_,
    select,
    union,
    update,
)

from storeboot.hosts.host import MAX_BASE
from storeboot.hosts.schema import boots, events

TRIM_EVERY = 100
MAX_EVENTS_PER_HOST = 2000  # the oldest go first: nobody can fill the disk by asking
MAX_LOOSE = 100  # events without a boot that are looked at, of a boot's beginning
MAX_BOOTS_PER_HOST = 200
RUNNING = 600.0  # seconds: who was heard of since is taken as running
SUPERSEDED = 600.0  # seconds in which a superseded boot may show that it still runs
MAX_DETAIL = 16_384  # characters


@dataclass(frozen=True, slots=True)
class Boot:
    """One boot: from its POST until it is superseded or shut down. Times in seconds since 1970."""

    id: str
    host: str
    view: str
    system: str
    nonce: str
    machine: str
    address: str
    began_at: float
    seen_at: float
    ended_at: float | None = None
    ended_by: str | None = None  # "shutdown" or "boot"

    def holds(self, now: float, lease: float) -> bool:
        """Whether it keeps its view from garbage collection; `lease` in seconds.

        One that was superseded and still speaks is a running machine that somebody else has
        started a boot in the name of; it gets a while to do so.
        """
        if self.seen_at <= now - lease or self.ended_by == "shutdown":
            return False
        if self.ended_at is None or self.seen_at > self.ended_at:
            return True
        return now < self.ended_at + SUPERSEDED


@dataclass(frozen=True, slots=True)
class Event:
    """Something that was seen of a machine."""

    host: str
    source: str
    stage: str
    at: float
    boot: str | None = None
    uptime: float | None = None
    detail: str = ""


class Boots:
    """The two tables, one method for each thing that is asked of them."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self._untrimmed: Counter[str] = Counter()

    def begin(self, boot: Boot) -> Boot:
        """Record a boot; one with the same nonce is the same boot, sent again."""
        with self._engine.begin() as connection:
            known = connection.execute(select(boots).where(boots.c.nonce == boot.nonce)).first()
            if known is not None:
                return _boot(known)
            connection.execute(
                update(boots)
                .where(boots.c.host == boot.host, boots.c.ended_at.is_(None))
                .values(ended_at=boot.began_at, ended_by="boot")
            )
            self._forget_old_boots(connection, boot)
            connection.execute(
                insert(boots).values(
                    {name: getattr(boot, name) for name in Boot.__dataclass_fields__}
                )
            )
        return boot

    def _forget_old_boots(self, connection: Connection, new: Boot) -> None:
        """With their events; the newest stay, and so does a machine that was heard of lately."""
        of_host = boots.c.host == new.host
        newest = select(boots.c.id).where(of_host).order_by(boots.c.seen_at.desc())
        kept = newest.limit(MAX_BOOTS_PER_HOST - 1).scalar_subquery()
        runs = and_(boots.c.seen_at > boots.c.began_at, boots.c.seen_at > new.began_at - RUNNING)
        connection.execute(delete(boots).where(of_host, boots.c.id.not_in(kept), not_(runs)))

    def hosts(self) -> set[str]:
        """Names under which a boot has begun."""
        with self._engine.connect() as connection:
            return set(connection.execute(select(boots.c.host).distinct()).scalars())

    def count_like(self, host: str, now: float) -> int:
        """Boots of unknown machines that booted like a host.

        Those that have ended and are silent since, or began an hour ago and were never heard of,
        are forgotten first.
        """
        of_guests = and_(boots.c.host.like(f"{host[:MAX_BASE]}-{'_' * 12}"), boots.c.host != host)
        silent_since = or_(boots.c.ended_by == "shutdown", boots.c.seen_at <= boots.c.ended_at)
        over = and_(boots.c.ended_at < now - SUPERSEDED, silent_since)
        silent = and_(boots.c.seen_at < boots.c.began_at + 60, boots.c.seen_at < now - 3600)
        with self._engine.begin() as connection:
            connection.execute(delete(boots).where(of_guests, or_(over, silent)))
            query = select(func.count()).select_from(boots).where(of_guests)
            return connection.execute(query).scalar_one()

    def forget_others(self, hosts: set[str], before: float) -> None:
        """Boots of machines that are no host's any more, and hold nothing since `before`."""
        with self._engine.begin() as connection:
            old = select(boots.c.host).where(boots.c.seen_at < before)
            seen = select(events.c.host).where(events.c.at < before)
            gone = set(connection.execute(union(old, seen)).scalars()) - hosts
            connection.execute(
                delete(boots).where(boots.c.host.in_(gone), boots.c.seen_at < before)
            )
            connection.execute(delete(events).where(events.c.host.in_(gone), events.c.at < before))
        for host in gone:
            self._untrimmed.pop(host, None)

    def newest(self, host: str, count: int) -> set[str]:
        """Ids of the boots that were heard of last."""
        query = select(boots.c.id).where(boots.c.host == host).order_by(boots.c.seen_at.desc())
        with self._engine.connect() as connection:
            return set(connection.execute(query.limit(count)).scalars())

    def get(self, boot_id: str) -> Boot | None:
        with self._engine.connect() as connection:
            row = connection.execute(select(boots).where(boots.c.id == boot_id)).first()
        return _boot(row) if row is not None else None

    def latest(self, host: str) -> Boot | None:
        query = select(boots).where(boots.c.host == host).order_by(boots.c.began_at.desc())
        with self._engine.connect() as connection:
            row = connection.execute(query.limit(1)).first()
        return _boot(row) if row is not None else None

    def touch(self, boot_id: str, now: float) -> None:
        with self._engine.begin() as connection:
            connection.execute(_touched(boot_id, now))

    def touch_addresses(self, addresses: Iterable[str], now: float) -> None:
        """Sign of life of what runs there: an NFS connection stands.

        Of boots that have not ended, and of one that was superseded if it is the address' newest.
        """
        query = (
            select(boots.c.id, boots.c.address, boots.c.ended_at)
            .where(boots.c.address.in_(list(addresses)))
            .where(boots.c.ended_by.is_distinct_from("shutdown"))
            .order_by(boots.c.began_at)
        )
        with self._engine.begin() as connection:
            rows = connection.execute(query).all()
            newest = {row.address: row.id for row in rows}
            alive = [
                row.id for row in rows if row.ended_at is None or newest[row.address] == row.id
            ]
            connection.execute(update(boots).where(boots.c.id.in_(alive)).values(seen_at=now))

    def prolong(self, seconds: float, since: float) -> None:
        """Add to when boots that have not ended were seen, if that was later than `since`."""
        with self._engine.begin() as connection:
            connection.execute(
                update(boots)
                .where(boots.c.seen_at > since, boots.c.ended_at.is_(None))
                .values(seen_at=boots.c.seen_at + seconds)
            )

    def leases(self, now: float, lease: float) -> list[Boot]:
        """Boots that hold their views, by host; `lease` in seconds."""
        query = select(boots).where(boots.c.seen_at > now - lease).order_by(boots.c.host)
        with self._engine.connect() as connection:
            found = [_boot(row) for row in connection.execute(query)]
        return [boot for boot in found if boot.holds(now, lease)]

    def end(self, boot_id: str, now: float) -> None:
        with self._engine.begin() as connection:
            connection.execute(
                update(boots)
                .where(boots.c.id == boot_id, boots.c.ended_by.is_distinct_from("shutdown"))
                .values(ended_at=now, ended_by="shutdown")
            )

    def record(self, event: Event) -> None:
        """Write an event down; one of a boot is a sign of its life."""
        values = {name: getattr(event, name) for name in Event.__dataclass_fields__}
        values["detail"] = event.detail[-MAX_DETAIL:]
        with self._engine.begin() as connection:
            connection.execute(insert(events).values(values))
            if event.boot is not None:
                connection.execute(_touched(event.boot, event.at))
            self._untrimmed[event.host] += 1
            if self._untrimmed[event.host] >= TRIM_EVERY:
                self._trim(connection, event.host)
                self._untrimmed[event.host] = 0

    def _trim(self, connection: Connection, host: str) -> None:
        query = (
            select(events.c.id)
            .where(events.c.host == host)
            .order_by(events.c.id.desc())
            .offset(MAX_EVENTS_PER_HOST)
            .limit(1)
        )
        last = connection.execute(query).scalar()
        if last is not None:
            connection.execute(delete(events).where(events.c.host == host, events.c.id <= last))

    def events_since(self, host: str, since: float) -> list[Event]:
        query = select(events).where(events.c.host == host, events.c.at >= since)
        with self._engine.connect() as connection:
            return [_event(row) for row in connection.execute(query.order_by(events.c.id))]

    def lately(self, host: str, boot: str | None) -> list[Event]:
        """What a boot has said, and what was seen of its host last before or without one."""
        own = events.c.boot == boot if boot is not None else false()
        loose = (
            select(events.c.id)
            .where(events.c.host == host, events.c.boot.is_(None))
            .order_by(events.c.id.desc())
            .limit(MAX_LOOSE)
        )
        query = select(events).where(events.c.host == host, or_(own, events.c.id.in_(loose)))
        with self._engine.connect() as connection:
            return [_event(row) for row in connection.execute(query.order_by(events.c.id))]

    def events_of(self, boot_id: str) -> list[Event]:
        query = select(events).where(events.c.boot == boot_id).order_by(events.c.id)
        with self._engine.connect() as connection:
            return [_event(row) for row in connection.execute(query)]


def _touched(boot_id: str, now: float) -> Update:
    condition = (boots.c.id == boot_id, boots.c.seen_at < now)
    return update(boots).where(*condition).values(seen_at=now)


def _boot(row: Row[tuple[object, ...]]) -> Boot:
    return Boot(**row._mapping)


def _event(row: Row[tuple[object, ...]]) -> Event:
    values = dict(row._mapping)
    del values["id"]
    return Event(**values)
