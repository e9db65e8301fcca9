"""Limits how many machines boot at once, for example after a power cut; others wait in iPXE."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

from storeboot.hosts.host import Host
from storeboot.protocol.stages import Source, Stage
from storeboot.service.happenings import Happening

STALLED = 90.0  # seconds without a sign of it, after which a machine loses its place
ASKED = 30.0  # the same before it has fetched anything: anyone who knows a MAC address can ask
PATIENCE = 36  # how often a machine is told to wait, at most; nobody can delay it longer
# Such a boot needs no place any more: it is up, over, hung, or so far that it reports no more.
_ON_ITS_OWN = frozenset(
    {
        Stage.MULTI_USER,
        Stage.FAILED,
        Stage.SHUTDOWN,
        Stage.SILENT,
        Stage.NO_STORE,
        Stage.STAGE_2,
        Stage.LOOP,
    }
)


@dataclass(slots=True)
class Places:
    """Hosts between boot script and multi-user. In memory: a new server starts counting again."""

    limit: Callable[[], int]
    heard: dict[str, float] = field(default_factory=dict)

    def admit(self, host: str, now: float, waited: int = 0) -> bool:
        """Give the host a place if there is one; return whether it may boot now.

        `waited` is how often the host was told to wait before.
        """
        for name in [name for name, at in self.heard.items() if at < now - STALLED]:
            del self.heard[name]
        if host not in self.heard and len(self.heard) >= self.limit() and waited < PATIENCE:
            return False
        self.heard.setdefault(host, now - STALLED + ASKED)
        return True

    def moves(self, host: str, now: float) -> None:
        """Note that the host makes progress."""
        if host in self.heard:
            self.heard[host] = now

    def leaves(self, host: str) -> None:
        """Free the place of a host that is up, or will not come up."""
        self.heard.pop(host, None)


class Turns:
    """The places of hosts and of guest hosts. It is a listener: events show each boot's
    progress."""

    def __init__(self, limit: Callable[[], int]) -> None:
        # Guest hosts take no place from hosts that are known.
        self.hosts, self.guests = Places(limit), Places(limit)

    def of(self, host: Host) -> Places:
        """Return the places among which the host is counted."""
        return self.guests if host.like else self.hosts

    async def heard(self, happening: Happening) -> tuple[()]:
        event = happening.event
        if event.stage in _ON_ITS_OWN:
            self.leaves(event.host)
        elif event.source != Source.DHCP:  # anyone with the host's address can cause that
            self.moves(event.host, event.at)
        return ()

    def moves(self, host: str, now: float) -> None:
        """Note that the host makes progress."""
        for places in (self.hosts, self.guests):
            places.moves(host, now)

    def leaves(self, host: str) -> None:
        """Free the place of a host that is up, or will not come up."""
        for places in (self.hosts, self.guests):
            places.leaves(host)
