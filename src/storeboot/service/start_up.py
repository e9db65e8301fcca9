"""Staggered start: after a power cut machines boot so many at a time, the others wait in iPXE."""

from __future__ import annotations

from dataclasses import dataclass, field

STALLED = 90.0  # seconds without a word: the place goes to another one
ASKED = 30.0  # the same until something was fetched: whoever knows a MAC address can ask
PATIENCE = 36  # so many times a machine is told to wait; nobody can keep it waiting longer


@dataclass(slots=True)
class StartUp:
    """Hosts between boot script and multi-user, in memory: a new server begins to count anew."""

    limit: int
    heard: dict[str, float] = field(default_factory=dict)

    def admit(self, host: str, now: float, waited: int = 0) -> bool:
        """Whether the host, told to wait so many times, may boot now; it has a place then."""
        for name in [name for name, at in self.heard.items() if at < now - STALLED]:
            del self.heard[name]
        if host not in self.heard and len(self.heard) >= self.limit and waited < PATIENCE:
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
