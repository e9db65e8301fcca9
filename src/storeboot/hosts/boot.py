"""A boot, and what was observed of a machine, as values."""

from __future__ import annotations

from dataclasses import dataclass

from storeboot.protocol.stages import Source, Stage

SUPERSEDED = 600.0  # seconds in which a superseded boot may show that it is still running


@dataclass(frozen=True, slots=True)
class Boot:
    """One boot, from its POST until it is superseded or shut down. Times in seconds since 1970."""

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
    spoken: bool = False  # the machine has carried on: its first answer is not repeated

    def holds(self, now: float, lease: float) -> bool:
        """Return whether the boot keeps its view from garbage collection; `lease` is in seconds.

        A superseded boot that still sends heartbeats is a running machine in whose host's name
        somebody else has begun a boot. It gets a while to show this.
        """
        if self.seen_at <= now - lease or self.ended_by == Stage.SHUTDOWN:
            return False
        if self.ended_at is None or self.seen_at > self.ended_at:
            return True
        return now < self.ended_at + SUPERSEDED


@dataclass(frozen=True, slots=True)
class Event:
    """Something that was observed of a machine."""

    host: str  # "" if only the boot is known
    source: str
    stage: str
    at: float
    boot: str | None = None
    uptime: float | None = None
    detail: str = ""

    @property
    def is_machines(self) -> bool:
        """Return whether the machine itself has reported it, with the agent key of its boot."""
        return self.boot is not None and self.source in (Source.INITRD, Source.AGENT)
