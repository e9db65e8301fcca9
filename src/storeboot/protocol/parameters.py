"""The kernel command line, the only thing that a machine knows before it has a network."""

from __future__ import annotations

from enum import StrEnum
from typing import Self


class Parameter(StrEnum):
    """A parameter that storeboot gives or reads.

    A reserved one is refused in a host's kernel_params: storeboot alone decides its value.
    """

    meaning: str
    reserved: bool

    def __new__(cls, word: str, meaning: str, reserved: bool = False) -> Self:
        member = str.__new__(cls, word)
        member._value_ = word
        member.meaning = meaning
        member.reserved = reserved
        return member

    INITRD = "initrd", "the initrd's name, by which a UEFI kernel finds it", True
    INIT = "init", "stage 2 of the system, as in NixOS; its directory is the toplevel", True
    URL = "storeboot.url", "the server's URL", True
    HOST = "storeboot.host", "the host that the machine boots as", True
    VIEW = "storeboot.view", "the view that it is to mount", True
    HOSTNAME = "systemd.hostname", "the machine's host name, for systemd"
    MACHINE_ID = "systemd.machine_id", "the host's machine-id, for systemd"
    SWAP = "systemd.swap", "`no` where the system's fstab has swap on a local disk, for systemd"
    CLIENT_ID = "nfs.nfs4_unique_id", "mode native: tells NFSv4 clients apart, for the kernel"
    TICKET = "storeboot.ticket", "what proves that the server gave this command line", True
    BOOTIF = "BOOTIF", "`01-` and the boot NIC's MAC address; iPXE or the agent adds it", True
    LEASE = (
        "storeboot.lease",
        "the DHCP lease that a machine keeps over kexec; the agent adds it",
        True,
    )
    DEBUG = "storeboot.debug", "`shell` for a shell where the initrd fails, `trace` to see it work"
    RETRY = "storeboot.retry", "seconds before an initrd that has failed reboots; 30 without it"
    SAMPLE = "storeboot.sample", "N: a report hashes one file of N, instead of all"

    def given(self, value: str) -> str:
        """Return the parameter with a value, as it stands on the command line."""
        return f"{self}={value}"


# What a host's kernel_params must not begin with.
RESERVED = tuple(parameter.given("") for parameter in Parameter if parameter.reserved)


class LeaseField(StrEnum):
    """What storeboot.lease has of a lease: `name:value` with `,` between, and `+` for a space."""

    IP = "ip"
    PREFIX = "prefix"
    ROUTER = "router"
    DNS = "dns"
    DOMAIN = "domain"
    MTU = "mtu"
    SEARCH = "search"
    NTP = "ntp"
    ROUTES = "routes"  # destinations and gateways, in turns
