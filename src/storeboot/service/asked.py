"""Requests from machines, as values."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from urllib.parse import quote, urlencode

from storeboot.hosts.host import Machine


@dataclass(frozen=True, slots=True)
class Asked:
    """A machine asks for a script; somebody may have chosen something at its console."""

    machine: Machine
    address: str = ""
    local: str = ""  # the server address that was asked
    choice: str = ""  # GENERATION or GENERATION.SPECIALISATION
    like: str = ""  # the name of a host to boot like
    waited: int = 0  # how often the machine was told to wait for its turn

    @property
    def query(self) -> str:
        machine = self.machine
        said = {"mac": machine.mac, "uuid": machine.uuid, "serial": machine.serial}
        labels = (label.partition("=")[::2] for label in machine.labels)
        said |= {f"label.{name}": value for name, value in labels}
        if self.like:
            said["like"] = self.like
        return urlencode(said, quote_via=quote)


@dataclass(frozen=True, slots=True)
class Early:
    """A stage that a machine passed before its boot began. Times are in seconds."""

    stage: str
    uptime: float  # by the machine's own clock
    ago: float


@dataclass(frozen=True, slots=True)
class Beginning:
    """A machine reports that its boot begins."""

    host: str
    view: str
    nonce: str
    machine: Machine
    address: str
    local: str = ""  # the server address that was asked
    ticket: str = ""  # from the boot script
    early: Collection[Early] = ()
