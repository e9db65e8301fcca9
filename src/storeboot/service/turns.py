"""Staggered start: after a power cut machines boot so many at a time, the others wait in iPXE."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

from storeboot.hosts.host import Host
from storeboot.protocol.stages import Source, Stage
from storeboot.service.happenings import Happening

STALLED = 90.0  # seconds without a word: the place goes to another one
ASKED = 30.0  # the same until something was fetched: whoever knows a MAC address can ask
PATIENCE = 36  # so many times a machine is told to wait; nobody can keep it waiting longer
# A boot that waits for nobody's turn any more: it is up, over, hung, or far enough to say no more.
_ON_ITS_OWN = frozenset(
    {Stage.MULTI_USER, Stage.FAILED, Stage.SHUTDOWN, Stage.SILENT, Stage.STAGE_2}
)


@dataclass(slots=True)
class Places:
    """Hosts between boot script and multi-user, in memory: a new server begins to count anew."""

    limit: Callable[[], int]
    heard: dict[str, float] = field(default_factory=dict)

    def admit(self, host: str, now: float, waited: int = 0) -> bool:
        """Whether the host, told to wait so many times, may boot now; it has a place then."""
        for name in [name for name, at in self.heard.items() if at < now - STALLED]:
            del self.heard[name]
        if host not in self.heard and len(self.heard) >= self.limit() and waited < PATIENCE:
            return False
        self.heard.setdefault(host, now - STALLED + ASKED)
        return True

    def moves(self, host: str, now: float) -> None:
        """The host was heard of on its way."""
        if host in self.heard:
            self.heard[host] = now

    def leaves(self, host: str) -> None:
        """It is up, or will not be."""
        self.heard.pop(host, None)


class Turns:
    """All places. It is a listener: events show how far each machine has come."""

    def __init__(self, limit: Callable[[], int]) -> None:
        # Made-up machines that boot like a host take no place from those that are known.
        self.hosts, self.guests = Places(limit), Places(limit)

    def of(self, host: Host) -> Places:
        """Return the places that the host is counted among."""
        return self.guests if host.like else self.hosts

    async def heard(self, happening: Happening) -> tuple[()]:
        event = happening.event
        if event.stage in _ON_ITS_OWN:
            self.leaves(event.host)
        elif event.source != Source.DHCP:  # anybody can say that with a host's address
            self.moves(event.host, event.at)
        return ()

    def moves(self, host: str, now: float) -> None:
        """The host was heard of on its way."""
        for places in (self.hosts, self.guests):
            places.moves(host, now)

    def leaves(self, host: str) -> None:
        """The host is up, or will not be."""
        for places in (self.hosts, self.guests):
            places.leaves(host)
