"""Turns what dnsmasq logs about machines that it cannot serve into faults. No I/O, no clock.

The lines are those of dnsmasq with `log-dhcp`, which says more than an operator wants to read; what
is left here is what somebody has to mend.
"""

from __future__ import annotations

import re
from collections import OrderedDict
from collections.abc import Collection
from dataclasses import dataclass, field
from ipaddress import AddressValueError, IPv4Address
from pathlib import PurePath

from storeboot.dhcp.dnsmasq import ARCHITECTURE, RASPBERRY_TAG, UNSERVED
from storeboot.dhcp.firmware import ARCHITECTURES, FIRMWARE, RASPBERRY
from storeboot.dhcp.journal import LINE, VENDOR, remember
from storeboot.dhcp.raspberry import OPTIONAL

_MAC = r"(?P<mac>[0-9a-f]{2}(?::[0-9a-f]{2}){5})"
_SENDER = re.compile(rf"(\d+) (?:DHCP\w+|PXE)\(\S+\) (?:[0-9.]+ )?{_MAC}")
_TAGS = re.compile(r"(\d+) tags: (.*)")
_NO_RANGE = re.compile(
    r"no address range available for DHCP request (via|with subnet selector) (\S+)"
)
_NO_ADDRESS = re.compile(r"DHCP packet received on (\S+) which has no address")
_FULL = re.compile(rf"(?:\d+ )?DHCP\w+\((\S+)\) (?:[0-9.]+ )?{_MAC} no address available")
_DECLINED = re.compile(rf"(?:\d+ )?DHCPDECLINE\(\S+\) ([0-9.]+) {_MAC}")
_KEPT_BACK = re.compile(r"(?:\d+ )?not using configured address (\S+) because (.+)")
_NOT_FOUND = re.compile(r"file (.+) not found for ([0-9.]+)")
_UNREADABLE = re.compile(r"cannot access (.+): (.+)")
_CUT = re.compile(r"failed sending (.+) to ([0-9.]+)")


@dataclass(frozen=True, slots=True)
class Fault:
    """Something that keeps machines from booting; `event` is its name in the log."""

    event: str
    about: tuple[tuple[str, str], ...]  # the fields of the log line; one fault has the same ones
    hint: str


@dataclass(slots=True)
class Faults:
    """Combines lines: the sender of a request and what it lacks are in different ones."""

    root: PurePath  # that dnsmasq serves by TFTP
    programs: Collection[str]  # names of the iPXE programs in it
    _senders: OrderedDict[str, str] = field(default_factory=OrderedDict)  # by transaction
    _kinds: OrderedDict[str, str] = field(default_factory=OrderedDict)  # by transaction

    def line(self, text: str) -> Fault | None:
        """Return the fault that a line tells of; None if it tells of none."""
        match = LINE.match(text.strip())
        said = match[1] if match else ""
        if (vendor := VENDOR.match(said)) is not None:
            remember(self._kinds, vendor[1], vendor[2])
        elif (sender := _SENDER.match(said)) is not None:
            remember(self._senders, sender[1], sender["mac"])
        elif (tags := _TAGS.match(said)) is not None:
            return self._unserved(tags[1], tags[2].split(", "))
        return _of_network(said) or self._of_transfer(said)

    def _unserved(self, transaction: str, tags: Collection[str]) -> Fault | None:
        """Return a fault if firmware is given no file."""
        if UNSERVED not in tags:
            return None
        numbers = [int(tag.removeprefix(ARCHITECTURE)) for tag in tags
                   if re.fullmatch(rf"{ARCHITECTURE}\d+", tag)]  # fmt: skip
        kind = self._kinds.get(transaction, "")
        number = numbers[0] if numbers else _number(kind)
        if RASPBERRY_TAG in tags:
            number = RASPBERRY
        name = ARCHITECTURES.get(number, kind or "unknown") if number is not None else kind
        about = (
            ("mac", self._senders.get(transaction, "")),
            ("architecture", name),
            ("option_93", str(numbers[0]) if numbers else ""),
        )
        return Fault("dhcp.no_program", about, _cure(number))

    def _of_transfer(self, said: str) -> Fault | None:
        if (lost := _NOT_FOUND.fullmatch(said)) is not None:
            name = self._name(lost[1])
            if PurePath(name).name in OPTIONAL:
                return None
            about = (("file", name), ("address", lost[2]))
            return Fault("tftp.file_not_found", about, self._whence(name))
        if (closed := _UNREADABLE.fullmatch(said)) is not None:
            about = (("file", self._name(closed[1])), ("reason", closed[2]))
            return Fault("tftp.file_unreadable", about, "let dnsmasq's user read the file")
        if (cut := _CUT.fullmatch(said)) is not None:
            about = (("file", self._name(cut[1])), ("address", cut[2]))
            hint = "the machine went away or has refused the file; look at its console"
            return Fault("tftp.transfer_failed", about, hint)
        return None

    def _name(self, path: str) -> str:
        """Return a file's name as it was asked for; dnsmasq puts its root in front."""
        return path.removeprefix(f"{self.root}/")

    def _whence(self, name: str) -> str:
        """Return what to do about a name that there is no file for."""
        known = {each.program: each.name for each in FIRMWARE if not each.http}
        if name in self.programs:
            return (
                "the name that was asked for has more bytes, which cannot be shown: correct the "
                "file name (option 67) on the DHCP server that gave it"
            )
        if name in known:
            return f"there is no iPXE for this firmware: set dhcp.ipxe.{known[name]}"
        there = ", ".join(sorted(self.programs))
        return f"there are: {there}; `storeboot dhcp-snippet` prints lines that name them"


def _number(kind: str) -> int | None:
    """Return the architecture that option 60 says, such as `PXEClient:Arch:00011:UNDI:003001`."""
    found = re.search(r"Client:Arch:(\d{5})", kind)
    return int(found[1]) if found else None


def _cure(number: int | None) -> str:
    """Return what to do for firmware of this architecture."""
    if number == RASPBERRY:
        return "name the directory with the firmware of Raspberry Pis: dhcp.raspberry_firmware"
    firmware = next((each for each in FIRMWARE if number in each.architectures), None)
    if firmware is None:
        return "storeboot starts no machine of this kind: choose another way to boot in its setup"
    kind = firmware.name.removesuffix("-http")
    if not firmware.http:
        return f"name an iPXE for it: dhcp.ipxe.{kind}"
    return (
        f"name an iPXE for it: dhcp.ipxe.{kind}; with dhcp.mode proxy, choose PXE instead of HTTP "
        "boot in its setup"
    )


def _of_network(said: str) -> Fault | None:
    """Return a fault if a request came from where no address can be given."""
    if (lost := _NO_RANGE.fullmatch(said)) is not None:
        return _without_range(lost[1], lost[2])
    if (bare := _NO_ADDRESS.fullmatch(said)) is not None:
        hint = "give the interface the address that [networks] names for it"
        return Fault("dhcp.interface_without_address", (("interface", bare[1]),), hint)
    if (full := _FULL.fullmatch(said)) is not None:
        hint = "widen `range` in [networks], or shorten dhcp.lease"
        return Fault("dhcp.no_address_left", (("interface", full[1]), ("mac", full["mac"])), hint)
    if (declined := _DECLINED.match(said)) is not None:
        about = (("address", declined[1]), ("mac", declined["mac"]))
        hint = "another machine has this address: find it, or take the address out of `range`"
        return Fault("dhcp.address_in_use", about, hint)
    if (kept := _KEPT_BACK.fullmatch(said)) is not None:
        about = (("address", kept[1]), ("reason", kept[2]))
        hint = "free the address, or give the host another: hosts.NAME.address"
        return Fault("dhcp.address_not_given", about, hint)
    return None


def _without_range(how: str, where: str) -> Fault:
    """Return the fault of a network that has no section, or of an interface without its address."""
    try:
        IPv4Address(where)
    except AddressValueError:
        hint = "the interface has no address of its section in [networks]: see `ip addr`"
        return Fault("dhcp.interface_without_network", (("interface", where),), hint)
    name = "giaddr" if how == "via" else "subnet"
    hint = (
        "a relay sends requests of a network that [networks] does not have: give this server an "
        "interface in that network and a section for it, or stop the relay and name the boot "
        "files on that network's own DHCP server (`storeboot dhcp-snippet`)"
    )
    return Fault("dhcp.network_unknown", ((name, where),), hint)
