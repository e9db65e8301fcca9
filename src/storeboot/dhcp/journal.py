"""Turns what dnsmasq logs about machines into stages of their boots. No I/O, no clock."""

from __future__ import annotations

import re
from collections import OrderedDict
from dataclasses import dataclass, field

from storeboot.protocol.stages import Stage

_REMEMBERED = 4096  # requests, and addresses
LINE = re.compile(r"dnsmasq(?:-dhcp|-tftp)?(?:\[\d+\])?: (.*)")
VENDOR = re.compile(r"(\d+) vendor class: (.*)")
_USER = re.compile(r"(\d+) user class: (.*)")
_GIVEN = re.compile(r"(\d+) DHCPACK\(\S+\) ([0-9.]+) ([0-9a-f:]{17})")
_PROXIED = re.compile(r"(\d+) PXE\(\S+\) (?:([0-9.]+) )?([0-9a-f:]{17}) proxy$")
_SENT = re.compile(r"sent (.+) to ([0-9.]+)$")
_CUT = re.compile(r"failed sending .+ to ([0-9.]+)$")
_ENDED = re.compile(r"error \d+ .*received from ([0-9.]+)$")
_FIRMWARE = ("PXEClient", "HTTPClient")
STARTED = re.compile(r"started, version (\S+)")


@dataclass(frozen=True, slots=True)
class Seen:
    """A machine on its way; `stage` is a stage of the timeline.

    `mac` is "" if only its address is known, as it is where another server gives out addresses.
    """

    mac: str
    stage: str
    detail: str = ""
    address: str = ""
    again: bool = False  # whether the same was told a short while ago


@dataclass(slots=True)
class Journal:
    """Combines lines: the sender of a request and its outcome are in different ones.

    With `strangers`, files that were sent to addresses of which no request was seen are told as
    well.
    """

    strangers: bool = False

    _kinds: OrderedDict[str, str] = field(default_factory=OrderedDict)  # by transaction
    _macs: OrderedDict[str, str] = field(default_factory=OrderedDict)  # by address
    _ended: OrderedDict[str, str] = field(default_factory=OrderedDict)  # transfers, by address

    def line(self, text: str) -> Seen | None:
        """Return what a line tells about a machine whose firmware is running; otherwise None."""
        match = LINE.match(text.strip())
        said = match[1] if match else ""
        if (vendor := VENDOR.match(said)) is not None:
            remember(self._kinds, vendor[1], vendor[2])
        elif (user := _USER.match(said)) is not None and "iPXE" in user[2]:
            remember(self._kinds, user[1], "PXEClient, iPXE")
        elif (given := _GIVEN.match(said)) is not None:
            remember(self._macs, given[2], given[3])
            return self._of_firmware(given[1], given[3], given[2])
        elif (proxied := _PROXIED.match(said)) is not None:
            if proxied[2]:
                remember(self._macs, proxied[2], proxied[3])
            return self._of_firmware(proxied[1], proxied[3], proxied[2] or "")
        elif (ended := _ENDED.match(said)) is not None:
            remember(self._ended, ended[1], said)
        elif (cut := _CUT.match(said)) is not None:
            self._ended.pop(cut[1], None)
        elif (sent := _SENT.match(said)) is not None:
            return self._of_transfer(sent[1].rpartition("/")[2].strip(), sent[2])
        return None

    def _of_transfer(self, name: str, address: str) -> Seen | None:
        """Leave out what the client has ended itself, as UEFI does once it knows the size.

        dnsmasq logs the client's error first and then that it has sent the file, unless a whole
        block was on its way.
        """
        if self._ended.pop(address, None) is not None:
            return None
        if address in self._macs:
            return Seen(self._macs[address], Stage.FIRMWARE, name)
        return Seen("", Stage.FIRMWARE, name, address) if self.strangers else None

    def _of_firmware(self, transaction: str, mac: str, address: str) -> Seen | None:
        """Leave out systems, which also ask for addresses, and renew them as long as they run."""
        kind = self._kinds.get(transaction, "")
        if not kind.startswith(_FIRMWARE):
            return None
        return Seen(mac, Stage.ADDRESS, f"{address} {kind}".strip())


def remember(table: OrderedDict[str, str], key: str, value: str) -> None:
    """Remember a value; a sender of millions of requests makes us forget, not grow."""
    table[key] = value
    table.move_to_end(key)
    while len(table) > _REMEMBERED:
        table.popitem(last=False)
