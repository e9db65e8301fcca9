"""dnsmasq's configuration: text from values, nothing else (dnsmasq(8))."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from ipaddress import IPv4Address
from pathlib import Path

from storeboot.config import DhcpSection, NetworkSection
from storeboot.dhcp import raspberry
from storeboot.dhcp.firmware import FIRMWARE, Firmware

MAX_LEASES, MAX_TRANSFERS = 65536, 1024  # dnsmasq's own limits are 1000 and 50
IPXE_OPTION = 175  # encapsulated options that only iPXE sends
_FILE_NAME, _VENDOR_CLASS = 67, 60
_MENU = "storeboot"


@dataclass(frozen=True, slots=True)
class Reservation:
    """An address that only one NIC gets."""

    mac: str
    address: str


@dataclass(frozen=True, slots=True)
class Places:
    """Where dnsmasq finds its files and writes its own."""

    tftp: Path  # programs that firmware fetches
    reservations: Path  # read again on SIGHUP
    leases: Path


def configuration(
    section: DhcpSection,
    networks: dict[str, NetworkSection],
    programs: Iterable[str],
    places: Places,
    http_port: int,
) -> str:
    """Return the file for `dnsmasq --conf-file`.

    `programs` are the file names for which there is an iPXE. The file name is sent both in the
    BOOTP field and as an option: some ROMs read one, some the other.
    """
    have = frozenset(programs)
    lines = [*_common(section, places), *_recognised()]
    for name, network in networks.items():
        url = f"http://{network.own}:{http_port}"
        lines += [f"interface={network.interface}", f"enable-tftp={network.interface}"]
        if section.mode == "tftp":
            continue
        lines += _addresses(section, name, network)
        # Never send iPXE to iPXE: it would load itself forever.
        lines += _boot(f"tag:{name},tag:ipxe", f"{url}/boot.ipxe", network.own)
        if section.raspberry_firmware is not None:
            lines += _board(f"tag:{name},tag:!ipxe,tag:raspberry", network)
        for firmware in FIRMWARE:
            if firmware.program in have:
                lines += _program(section, name, network, firmware, url)
    return "".join(line + "\n" for line in lines)


def reservations(hosts: Iterable[Reservation]) -> str:
    """Return the file for `dhcp-hostsfile`, without names: some, such as 7d, would be read as
    times."""
    return "".join(f"{host.mac},{host.address}\n" for host in hosts)


def reserved(
    hosts: Iterable[tuple[tuple[str, ...], tuple[str, ...]]],
    networks: Iterable[NetworkSection],
) -> Iterator[Reservation]:
    """Return reservations: of each host's addresses, the first one inside each network.

    It is for the host's first NIC only: if it were for any, a second NIC that asks while the first
    one holds the store would get the same address. If two hosts have one address, the first host
    gets it, because dnsmasq would then accept nothing in the file.
    """
    subnets, taken = [network.subnet for network in networks], set[str]()
    for macs, addresses in hosts:
        for subnet in subnets:
            own = next((each for each in addresses if IPv4Address(each) in subnet), None)
            if own is not None and macs and own not in taken:
                taken.add(own)
                yield Reservation(macs[0], own)


def _common(section: DhcpSection, places: Places) -> Iterator[str]:
    yield "port=0"  # no DNS
    yield "bind-dynamic"  # interfaces that appear later are used too
    yield "except-interface=lo"
    yield "log-dhcp"
    yield "log-facility=-"
    yield "keep-in-foreground"
    yield "pid-file="  # the distribution's own dnsmasq may be running
    yield f"tftp-max={MAX_TRANSFERS}"
    yield f"tftp-root={places.tftp}"
    yield "dhcp-no-override"  # keep the BOOTP fields as they are
    if section.port != 67:
        yield f"dhcp-alternate-port={section.port},{section.port + 1}"
    if section.mode == "full":
        yield "dhcp-authoritative"
        yield f"dhcp-lease-max={MAX_LEASES}"
        yield f"dhcp-leasefile={places.leases}"
        yield f"dhcp-hostsfile={places.reservations}"
    elif section.mode == "proxy":
        yield "leasefile-ro"
        yield "dhcp-leasefile=/dev/null"


def _recognised() -> Iterator[str]:
    """Yield tags for what a request says about its sender."""
    yield f"dhcp-match=set:ipxe,{IPXE_OPTION}"
    # Compared anywhere in the option: with and without the length bytes of RFC 3004.
    yield "dhcp-userclass=set:ipxe,iPXE"
    for firmware in FIRMWARE:
        for architecture in firmware.architectures:
            yield f"dhcp-match=set:{firmware.name},option:client-arch,{architecture}"
    # Before RFC 4578 there was only BIOS, and it sends no such option.
    yield "dhcp-match=set:arch,93"
    yield "tag-if=set:bios,tag:!arch"
    for prefix in raspberry.MAC_PREFIXES:
        yield f"dhcp-mac=set:maker,{prefix}:*:*:*"
    # A board with UEFI in its flash says so, and is treated like any other machine.
    yield "tag-if=set:raspberry,tag:maker,tag:bios"


def _addresses(section: DhcpSection, name: str, network: NetworkSection) -> Iterator[str]:
    if section.mode == "proxy" or network.range is None:
        yield f"dhcp-range=set:{name},{network.subnet.network_address},proxy"
        return
    first, last = network.range
    yield f"dhcp-range=set:{name},{first},{last},{network.subnet.netmask},{section.lease}"
    router, dns = network.router or "", ",".join(network.dns)
    # Without a value dnsmasq would send its own name.
    yield f"dhcp-option=tag:{name},option:router{',' if router else ''}{router}"
    yield f"dhcp-option=tag:{name},option:dns-server{',' if dns else ''}{dns}"


def _program(
    section: DhcpSection, name: str, network: NetworkSection, firmware: Firmware, url: str
) -> Iterator[str]:
    tags = f"tag:{name},tag:!ipxe,tag:!raspberry,tag:{firmware.name}"
    if firmware.http:
        if section.mode == "full":  # as a proxy, dnsmasq answers only PXE clients
            yield f"dhcp-option-force={tags},{_VENDOR_CLASS},HTTPClient"
            yield from _boot(tags, f"{url}/firmware/{firmware.program}", network.own)
        return
    yield from _boot(tags, firmware.program, network.own)
    if section.mode == "proxy":
        yield f"pxe-service={tags},{firmware.service},{_MENU},{firmware.program},{network.own}"


def _board(tags: str, network: NetworkSection) -> Iterator[str]:
    """Yield lines for a board, which claims to be a BIOS and accepts only a server, no file
    name."""
    yield f"dhcp-boot={tags},bootcode.bin,{network.own},{network.own}"
    yield f"pxe-service={tags},0,{raspberry.MENU}"


def _boot(tags: str, file: str, server: str) -> Iterator[str]:
    yield f"dhcp-boot={tags},{file},{server},{server}"
    yield f"dhcp-option-force={tags},{_FILE_NAME},{file}"
