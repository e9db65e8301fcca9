"""Notices two machines that send one serial number, UUID or label, and would be one host. Blocking.

Makers give many boards the same number, so a number alone does not show that a machine is the one
that had the host's name before. A machine may also boot from another NIC than the last time. The
two cases differ in this: a machine that boots does not run at the same time.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import structlog
from typing_extensions import override

from storeboot.config import MAC
from storeboot.hosts.boot import Boot
from storeboot.hosts.host import Host, Machine

log = structlog.get_logger()
BEATS = 2.5  # heartbeats without which a machine does not count as running any more
LEAST_SECONDS = 30.0
SAY_SECONDS = 60.0  # between two log lines about the same two machines
MAX_SAID = 1024


@dataclass(frozen=True, slots=True)
class Rival:
    """The machine with which a host has booted last, and which is not the one that asks."""

    host: str
    mac: str
    shared: str  # what both machines send
    runs: bool  # whether it counts as running
    seconds: float  # after its last sign of life, for which it does

    @override
    def __str__(self) -> str:
        verb = "runs on" if self.runs else "booted last on"
        return f"{self.host} {verb} {self.mac}, which sends the same {self.shared}"

    @property
    def cure(self) -> str:
        return f"give {self.host} the MAC addresses of its own machine, or another matcher"

    def is_late(self, waited: float) -> bool:
        """Return whether a machine that waited for so many seconds waits in vain."""
        return waited > self.seconds


class Rivals:
    """Finds and logs rivals: each change once, and one that goes on, once in a while."""

    def __init__(self, latest: Callable[[str], Boot | None]) -> None:
        """`latest` returns a host's newest boot, or None."""
        self._latest = latest
        self._said: dict[tuple[str, str, str], float] = {}

    def of(self, host: Host, machine: Machine, heartbeat: int, now: float) -> Rival | None:
        """Return the machine that has the host's name already, or None.

        Returns None for a machine that the host's MAC addresses name: they tell it apart.
        `heartbeat` is in seconds.
        """
        if machine.mac in host.macs or host.like is not None or not MAC.fullmatch(machine.mac):
            return None
        boot = self._latest(host.name)
        other = boot.machine.partition(" ")[0] if boot is not None else ""
        if boot is None or other == machine.mac or not MAC.fullmatch(other):
            return None
        seconds = max(LEAST_SECONDS, BEATS * heartbeat)
        runs = boot.ended_at is None and boot.seen_at > now - seconds
        shared = ", ".join(sorted(host.matchers & machine.matchers)) or "label"
        rival = Rival(host.name, other, shared, runs, seconds)
        self._say(rival, machine, now)
        return rival

    def _say(self, rival: Rival, machine: Machine, now: float) -> None:
        what = (rival.host, rival.mac, machine.mac)
        if now < self._said.get(what, 0.0) + SAY_SECONDS:
            return
        if len(self._said) >= MAX_SAID:
            self._said.clear()
        self._said[what] = now
        log.warning("host.two_machines", host=rival.host, mac=machine.mac, other=rival.mac,
                    same=rival.shared, other_runs=rival.runs, cure=rival.cure)  # fmt: skip
