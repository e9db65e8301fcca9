"""Counts boots that begin again and again without getting any further. No I/O, no clock.

A machine that boots asks for an address, fetches iPXE, asks for its script, fetches kernel and
initrd, and then shows itself in another way: its boot begins, or it mounts the store. A machine
that repeats the first steps instead is in a loop, for example because its firmware cannot start
iPXE, or because the kernel or the initrd restarts it.
"""

from __future__ import annotations

from collections import OrderedDict, deque
from dataclasses import dataclass, field

import structlog

from storeboot.hosts.boot import Event
from storeboot.protocol.stages import OF_FIRMWARE, Source, Stage
from storeboot.service.happenings import Happening

log = structlog.get_logger()
ROUNDS = 3  # of the same kind in a row make a loop
PAUSE = 300.0  # seconds between two rounds, at most; what comes later is another boot
APART = 1.5  # seconds between two rounds, at least; what comes sooner is the same question again
MAX_COUNTED = 1000  # rounds of one kind whose times are remembered
MAX_HOSTS = 4096
SAY = 60.0  # seconds between two lines of the log about one host
MOMENT = 0.001  # seconds after the event that shows a loop, so that the loop is what came last
_STEPS = OF_FIRMWARE | {Stage.SCRIPT, Stage.KERNEL, Stage.INITRD}
_ASKED = "asked for iPXE"
# In the order in which a boot passes them. A firmware beside another DHCP server asks twice, first
# without an address.
_KINDS = (
    ("address", _ASKED),
    ("its own address", _ASKED),
    (Stage.FIRMWARE, _ASKED),
    ("iPXE", "started iPXE"),
    (Stage.SCRIPT, "asked for its script"),
    (Stage.KERNEL, "fetched its kernel"),
    (Stage.INITRD, "fetched its initrd"),
)


@dataclass(slots=True)
class _Rounds:
    """When a host has done what, by kind, since it last got any further; in seconds since 1970."""

    times: dict[str, deque[float]] = field(default_factory=dict)
    last: float = float("-inf")
    said_at: float = float("-inf")

    def count(self, kind: str, now: float) -> None:
        if now > self.last + PAUSE:
            self.times.clear()
        self.last = now
        times = self.times.setdefault(kind, deque(maxlen=MAX_COUNTED))
        if not times or now >= times[-1] + APART:
            times.append(now)

    def words(self) -> str:
        """Return what is repeated, for the operator: the furthest step; "" if nothing is."""
        for kind, words in reversed(_KINDS):
            times = self.times.get(kind)
            if times is not None and len(times) >= ROUNDS:
                seconds = times[-1] - times[0]
                return f"{words} {len(times)} times in {seconds:.0f} s without going on"
        return ""


class Rounds:
    """The rounds of known hosts. It is a listener, and the last one: an event comes before the
    loop that it shows."""

    def __init__(self) -> None:
        self._hosts: OrderedDict[str, _Rounds] = OrderedDict()

    async def heard(self, happening: Happening) -> tuple[Event, ...]:
        return self.count(happening.event)

    def count(self, event: Event) -> tuple[Event, ...]:
        """Count an event; return the event of a loop, if it shows one."""
        if event.stage in (Stage.LOOP, Stage.DOWNLOAD):
            return ()
        if event.stage not in _STEPS:
            self._hosts.pop(event.host, None)  # it has got further, or it is over
            return ()
        rounds = self._hosts.setdefault(event.host, _Rounds())
        self._hosts.move_to_end(event.host)
        while len(self._hosts) > MAX_HOSTS:
            self._hosts.popitem(last=False)
        rounds.count(_kind(event), event.at)
        words = rounds.words()
        if not words:
            return ()
        if event.at >= rounds.said_at + SAY:
            rounds.said_at = event.at
            log.warning("boot.loop", host=event.host, reason=words)
        return (Event(event.host, Source.SERVER, Stage.LOOP, event.at + MOMENT, detail=words),)


def _kind(event: Event) -> str:
    """Return what kind of step an event is; see `dhcp.journal` for the details of addresses."""
    if event.stage != Stage.ADDRESS:
        return event.stage
    if "iPXE" in event.detail:
        return "iPXE"
    return "its own address" if event.detail[:1].isdigit() else "address"
