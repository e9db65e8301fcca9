"""Ports that dnsmasq needs for itself. dnsmasq would share them with others silently."""

from __future__ import annotations

import errno
import socket
from collections.abc import Iterable
from dataclasses import dataclass

from storeboot.config import Config
from storeboot.errors import StorebootError

TFTP_PORT, PXE_PORT = 69, 4011
RIGHTS = (
    "run the units that storeboot brings, or run it as root, or with CAP_NET_BIND_SERVICE, "
    "CAP_NET_ADMIN and CAP_NET_RAW"
)


@dataclass(frozen=True, slots=True)
class Wanted:
    """A UDP port on the interface of a network."""

    network: str
    interface: str
    port: int


def wanted_ports(config: Config) -> list[Wanted]:
    """Return the ports that dnsmasq will listen on."""
    ports = {"tftp": [TFTP_PORT], "proxy": [TFTP_PORT, config.dhcp.port, PXE_PORT]}.get(
        config.dhcp.mode, [TFTP_PORT, config.dhcp.port]
    )
    return [
        Wanted(name, network.interface, port)
        for name, network in config.networks.items()
        for port in ports
    ]


def require_ports(wanted: Iterable[Wanted]) -> None:
    """Raise StorebootError if a port is taken: two DHCP servers here would answer the same
    machines."""
    for each in wanted:
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
            try:
                device = each.interface.encode()
                probe.setsockopt(socket.SOL_SOCKET, socket.SO_BINDTODEVICE, device)
                probe.bind(("", each.port))
            except OSError as error:
                raise _refused(error, each) from None


def _refused(error: OSError, wanted: Wanted) -> StorebootError:
    where = f"UDP port {wanted.port} on {wanted.interface}"
    if error.errno == errno.EADDRINUSE and wanted.port == TFTP_PORT:
        return StorebootError(
            f"{where} is taken: another TFTP server runs on this machine",
            f"stop it; `ss -lunp 'sport = :{wanted.port}'` shows which it is",
        )
    if error.errno == errno.EADDRINUSE:
        return StorebootError(
            f"{where} is taken: another DHCP server runs on this machine",
            "stop it, or set dhcp.mode to tftp and give it the lines of `storeboot dhcp-snippet`; "
            f"`ss -lunp 'sport = :{wanted.port}'` shows which it is",
        )
    if error.errno in (errno.EACCES, errno.EPERM):
        return StorebootError(f"may not use {where}", RIGHTS)
    if error.errno == errno.ENODEV:
        return StorebootError(
            f"there is no interface {wanted.interface}",
            f"correct networks.{wanted.network}.interface",
        )
    return StorebootError(f"cannot use {where}: {error.strerror}", RIGHTS)
