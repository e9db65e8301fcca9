"""dnsmasq's configuration: text from values, nothing else (dnsmasq(8))."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from ipaddress import IPv4Address
from pathlib import Path

from storeboot.config import DhcpSection, NetworkSection
from storeboot.dhcp import raspberry
from storeboot.dhcp.firmware import ARCHITECTURES, FIRMWARE, RASPBERRY, Firmware

MAX_LEASES, MAX_TRANSFERS = 65536, 1024  # dnsmasq's own limits are 1000 and 50
IPXE_OPTION = 175  # encapsulated options that only iPXE sends
_FILE_NAME, _VENDOR_CLASS, _GUID = 67, 60, 97
_MENU = "storeboot"
# Tags that the log shows (`storeboot.dhcp.faults`): firmware that gets no file, and its number.
UNSERVED, ARCHITECTURE, RASPBERRY_TAG = "unserved", "arch-", "raspberry"
_BOARD = "maker"  # a tag: the sender is a Raspberry Pi, whatever runs on it


@dataclass(frozen=True, slots=True)
class Reservation:
    """What is reserved for one NIC: an address that no other gets, if there is one."""

    mac: str
    address: str | None
    board: bool = False  # it belongs to a Raspberry Pi


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
    lines = [*_common(section, places), *_recognised(section, have)]
    for name, network in networks.items():
        url = f"http://{network.own}:{http_port}"
        lines += [f"interface={network.interface}", f"enable-tftp={network.interface}"]
        if section.mode == "tftp":
            continue
        lines += _addresses(section, name, network)
        # Never send iPXE to iPXE: it would load itself forever.
        lines += _boot(f"tag:{name},tag:ipxe", f"{url}/boot.ipxe", network.own)
        if section.raspberry_firmware is not None:
            lines += _board(f"tag:{name},tag:!ipxe,tag:{RASPBERRY_TAG}", network)
        for firmware in FIRMWARE:
            if firmware.program in have:
                lines += _program(section, name, network, firmware, url)
    return "".join(line + "\n" for line in lines)


def reservations(hosts: Iterable[Reservation]) -> str:
    """Return the file for `dhcp-hostsfile`, without names: some, such as 7d, would be read as
    times."""
    return "".join(
        f"{host.mac}{f',set:{_BOARD}' if host.board else ''}"
        f"{f',{host.address}' if host.address is not None else ''}\n"
        for host in hosts
    )


def reserved(
    hosts: Iterable[tuple[tuple[str, ...], tuple[str, ...], bool]],
    networks: Iterable[NetworkSection],
) -> Iterator[Reservation]:
    """Return reservations: of each host's addresses, the first one inside each network.

    Each host is its MAC addresses, its addresses, and whether it is a Raspberry Pi, which is then
    said of all its NICs. The address is for the host's first NIC only: if it were for any, a second
    NIC that asks while the first one holds the store would get the same address. If two hosts have
    one address, the first host gets it, because dnsmasq would then accept nothing in the file.
    """
    subnets, taken = [network.subnet for network in networks], set[str]()
    for macs, addresses, board in hosts:
        found = list[str]()
        for subnet in subnets:
            own = next((each for each in addresses if IPv4Address(each) in subnet), None)
            if own is not None and macs and own not in taken:
                taken.add(own)
                found.append(own)
                yield Reservation(macs[0], own, board)
        if board:
            yield from (Reservation(mac, None, board) for mac in macs[1 if found else 0 :])


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
        # Firmware, iPXE and each system name themselves in another way (option 61: the UUID, the
        # MAC address, a DUID). The MAC address is what they share, so a machine has one address.
        yield "dhcp-ignore-clid"
        yield f"dhcp-lease-max={MAX_LEASES}"
        yield f"dhcp-leasefile={places.leases}"
    elif section.mode == "proxy":
        yield "leasefile-ro"
        yield "dhcp-leasefile=/dev/null"
    if section.mode != "tftp":
        yield f"dhcp-hostsfile={places.reservations}"


def _recognised(section: DhcpSection, programs: frozenset[str]) -> Iterator[str]:
    """Yield the lines that tag a request by what it says about its sender.

    Option 93 counts; without it, what option 60 says of the architecture. BIOS is who says neither:
    before RFC 4578 there was nothing else.
    """
    yield f"dhcp-match=set:ipxe,{IPXE_OPTION}"
    # Compared anywhere in the option: with and without the length bytes of RFC 3004.
    yield "dhcp-userclass=set:ipxe,iPXE"
    yield "dhcp-match=set:arch,93"
    yield "dhcp-vendorclass=set:class,Client:Arch:"
    yield "tag-if=set:says,tag:arch"
    yield "tag-if=set:says,tag:class"
    for number in ARCHITECTURES:
        yield f"dhcp-match=set:{ARCHITECTURE}{number},option:client-arch,{number}"
    for firmware in FIRMWARE:
        for number in firmware.architectures:
            yield f"tag-if=set:{firmware.name},tag:{ARCHITECTURE}{number}"
        for words in firmware.vendor_classes:
            yield f"dhcp-vendorclass=set:class-{firmware.name},{words}"
        yield f"tag-if=set:{firmware.name},tag:!arch,tag:class-{firmware.name}"
    yield "tag-if=set:bios,tag:!says"
    yield from _boards(section)
    served = (firmware.name for firmware in FIRMWARE if _is_served(section, firmware, programs))
    without = "".join(f",tag:!{name}" for name in served)
    yield f"tag-if=set:{UNSERVED},tag:says,tag:!ipxe,tag:!{RASPBERRY_TAG}{without}"
    if section.raspberry_firmware is None:
        yield f"tag-if=set:{UNSERVED},tag:says,tag:!ipxe,tag:{RASPBERRY_TAG}"


def _boards(section: DhcpSection) -> Iterator[str]:
    """Yield tags for Raspberry Pis: by their MAC address, their GUID, or their own number."""
    for prefix in (*raspberry.MAC_PREFIXES, *section.raspberry_prefixes):
        yield f"dhcp-mac=set:{_BOARD},{prefix}:*:*:*"
    for guid in raspberry.GUIDS:
        yield f"dhcp-match=set:{_BOARD},{_GUID},00:{guid.hex(':')}"
    # A board with UEFI in its flash says so, and is treated like any other machine.
    yield f"tag-if=set:{RASPBERRY_TAG},tag:{_BOARD},tag:bios"
    yield f"tag-if=set:{RASPBERRY_TAG},tag:{ARCHITECTURE}{RASPBERRY}"


def _is_served(section: DhcpSection, firmware: Firmware, programs: frozenset[str]) -> bool:
    """Return whether this firmware is given a file; HTTP boot takes none from a proxy."""
    return firmware.program in programs and not (firmware.http and section.mode == "proxy")


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
    tags = f"tag:{name},tag:!ipxe,tag:!{RASPBERRY_TAG},tag:{firmware.name}"
    if firmware.http:
        if section.mode == "full":  # as a proxy, dnsmasq answers only PXE clients
            yield f"dhcp-option-force={tags},{_VENDOR_CLASS},HTTPClient"
            yield from _boot(tags, f"{url}/firmware/{firmware.program}", network.own)
        return
    yield from _boot(tags, firmware.program, network.own)
    if section.mode == "proxy":
        # A service is for one number; dnsmasq gives none to who sends no option 93.
        for number in firmware.architectures:
            yield f"pxe-service={tags},{number},{_MENU},{firmware.program},{network.own}"


def _board(tags: str, network: NetworkSection) -> Iterator[str]:
    """Yield lines for a board, which claims to be a BIOS and accepts only a server, no file
    name."""
    yield f"dhcp-boot={tags},bootcode.bin,{network.own},{network.own}"
    for number in (0, RASPBERRY):
        yield f"pxe-service={tags},{number},{raspberry.MENU}"


def _boot(tags: str, file: str, server: str) -> Iterator[str]:
    yield f"dhcp-boot={tags},{file},{server},{server}"
    yield f"dhcp-option-force={tags},{_FILE_NAME},{file}"
