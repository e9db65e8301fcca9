"""Writes boots and events, and makes room for them.

Anyone who knows a host's MAC address can begin boots in its name and ask for its script. This
cannot fill the disk, and cannot displace what belongs to a machine that really boots:

- A host keeps a limited number of boots. The address that has most of them loses its oldest ones
first, and those in which a machine reads the store last. - Each boot has its own room for events.
So do the events without a boot, for each host.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterable, Mapping, Sequence

from sqlalchemy import Connection, delete, func, insert, select, update

from storeboot.hosts import rows
from storeboot.hosts.boot import Boot, Event
from storeboot.hosts.schema import boots, events
from storeboot.protocol.stages import Stage

MAX_BOOTS_PER_HOST = 200
MAX_LOOSE_EVENTS = 200  # of one host, without a boot: anyone can cause those
MAX_BOOT_EVENTS = 100
MAX_BOOT_DETAIL = 64 << 10  # characters, of all events of one boot together
MAX_DETAIL = 16 << 10  # characters of one event
_CHUNK = 500  # ids in one query


def write_boot(connection: Connection, boot: Boot, connected: Collection[str] = ()) -> Boot:
    """Record a boot and return it, or the boot with the same nonce if there is one.

    `connected` are addresses that read the store at the moment.
    """
    known = rows.first(connection, Boot, select(boots).where(boots.c.nonce == boot.nonce))
    if known is not None:
        return known
    _insert_boot(connection, boot, connected)
    return boot


def keep_boot(connection: Connection, boot: Boot, connected: Collection[str] = ()) -> None:
    """Record a boot that its machine was already told of, whatever is known of its nonce.

    Before a restart, the nonce may have begun another boot, which the server could not look up.
    """
    if connection.execute(select(boots.c.id).where(boots.c.id == boot.id)).first() is not None:
        return
    taken = select(boots.c.id).where(boots.c.nonce == boot.nonce)
    if connection.execute(taken).first() is not None:
        _insert_boot(connection, boot, connected, nonce=f"{boot.nonce[:40]}-{boot.id}")
    else:
        _insert_boot(connection, boot, connected)


def _insert_boot(
    connection: Connection, boot: Boot, connected: Collection[str], **changed: object
) -> None:
    connection.execute(
        update(boots)
        .where(boots.c.host == boot.host, boots.c.ended_at.is_(None))
        .values(ended_at=boot.began_at, ended_by="boot")
    )
    of_host = rows.every(connection, Boot, select(boots).where(boots.c.host == boot.host))
    gone = victims(of_host, connected, MAX_BOOTS_PER_HOST - 1)
    for some in chunks(gone):
        connection.execute(delete(boots).where(boots.c.id.in_(some)))
    connection.execute(insert(boots).values({**rows.to_row(boot), **changed}))


def victims(of_host: Iterable[Boot], connected: Collection[str], room: int) -> list[str]:
    """Return the ids of the boots of one host to drop, so that at most `room` of them stay.

    The address with most boots loses first, and of its boots the one that was silent longest. The
    newest boot of a connected address is taken for a machine that reads the store, and goes last.
    """
    left = sorted(of_host, key=lambda boot: (boot.seen_at, boot.began_at))
    newest = {boot.address: boot.id for boot in left}
    reads = {id_ for address, id_ in newest.items() if address in connected}
    counts = Counter(boot.address for boot in left)
    gone: list[str] = []
    while len(left) > max(0, room):
        free = [boot for boot in left if boot.id not in reads] or left
        most = max(counts[boot.address] for boot in free)
        victim = next(boot for boot in free if counts[boot.address] == most)
        left.remove(victim)
        counts[victim.address] -= 1
        gone.append(victim.id)
    return gone


def write_events(connection: Connection, new: Sequence[Event]) -> int:
    """Record events; each event of a boot is a sign of life.

    Returns how many of them belong to no known boot.
    """
    hosts = _hosts(connection, {event.boot for event in new if event.boot is not None})
    made = []
    for event in new:
        host = event.host if event.boot is None else hosts.get(event.boot)
        if host is None:
            continue
        made.append({**rows.to_row(event), "host": host, "detail": event.detail[-MAX_DETAIL:]})
    if made:
        connection.execute(insert(events), made)
    own = [event for event in new if event.boot in hosts]
    write_signs(connection, _latest(own), spoken={e.boot for e in own if e.boot and e.is_machines})
    for event in own:
        if event.stage == Stage.SHUTDOWN:
            end(connection, str(event.boot), event.at)
    for boot in {event.boot for event in own}:
        _trim_boot(connection, str(boot))
    for host in {event.host for event in new if event.boot is None}:
        _trim_loose(connection, host)
    return len(new) - len(made)


def _hosts(connection: Connection, ids: Collection[str]) -> dict[str, str]:
    found: dict[str, str] = {}
    for some in chunks(sorted(ids)):
        query = select(boots.c.id, boots.c.host).where(boots.c.id.in_(some))
        found |= {row.id: row.host for row in connection.execute(query)}
    return found


def _latest(of: Iterable[Event]) -> dict[str, float]:
    latest: dict[str, float] = {}
    for event in of:
        if event.boot is not None:
            latest[event.boot] = max(event.at, latest.get(event.boot, event.at))
    return latest


def write_signs(
    connection: Connection, signs: Mapping[str, float], spoken: Collection[str] = ()
) -> None:
    """Record signs of life: by boot, the time when it was last heard of.

    `spoken` are boots whose machine has carried on.
    """
    for boot, at in signs.items():
        connection.execute(
            update(boots).where(boots.c.id == boot, boots.c.seen_at < at).values(seen_at=at)
        )
    for some in chunks(sorted(spoken)):
        connection.execute(
            update(boots).where(boots.c.id.in_(some), boots.c.spoken.is_(False)).values(spoken=True)
        )


def end(connection: Connection, boot: str, now: float) -> None:
    """Record that the boot's machine has shut down."""
    connection.execute(
        update(boots)
        .where(boots.c.id == boot, boots.c.ended_by.is_distinct_from(Stage.SHUTDOWN))
        .values(ended_at=now, ended_by=Stage.SHUTDOWN)
    )


def _trim_boot(connection: Connection, boot: str) -> None:
    """Trim a boot's events: keep the first of each stage, the newest others, and recent details."""
    length = func.length(events.c.detail)
    query = select(events.c.id, events.c.stage, length.label("length")).where(events.c.boot == boot)
    found = connection.execute(query.order_by(events.c.id)).all()
    if len(found) > MAX_BOOT_EVENTS:
        first = {row.stage: row.id for row in reversed(found)}
        others = [row.id for row in found if first[row.stage] != row.id]
        gone = set(others[: len(found) - MAX_BOOT_EVENTS])
        for some in chunks(sorted(gone)):
            connection.execute(delete(events).where(events.c.id.in_(some)))
        found = [row for row in found if row.id not in gone]
    over = sum(row.length for row in found) - MAX_BOOT_DETAIL
    for row in found:
        if over <= 0:
            return
        if row.length:
            connection.execute(update(events).where(events.c.id == row.id).values(detail=""))
            over -= row.length


def _trim_loose(connection: Connection, host: str) -> None:
    loose = (events.c.host == host, events.c.boot.is_(None))
    query = select(events.c.id).where(*loose).order_by(events.c.id.desc())
    last = connection.execute(query.offset(MAX_LOOSE_EVENTS).limit(1)).scalar()
    if last is not None:
        connection.execute(delete(events).where(*loose, events.c.id <= last))


def chunks(ids: Sequence[object]) -> Iterable[Sequence[object]]:
    for start in range(0, len(ids), _CHUNK):
        yield ids[start : start + _CHUNK]
