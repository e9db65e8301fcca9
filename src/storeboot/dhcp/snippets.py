"""Lines for another DHCP server, so that its machines boot from this server.

The programs come over TFTP from the server that the lines name, or over HTTP from storeboot.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass

from storeboot.dhcp.firmware import FIRMWARE, Firmware


@dataclass(frozen=True, slots=True)
class Lines:
    """The values that the lines are made from."""

    server: str  # IPv4 address of storeboot
    url: str
    tftp: str  # IPv4 address of the TFTP server that has the programs
    firmware: tuple[Firmware, ...]  # those that there is a program for

    @property
    def script(self) -> str:
        return f"{self.url}/boot.ipxe"

    def file(self, firmware: Firmware) -> str:
        http = f"{self.url}/firmware/{firmware.program}"
        return http if firmware.http else firmware.program


def lines(server: str, url: str, tftp: str, programs: Iterable[str]) -> Lines:
    have = frozenset(programs)
    return Lines(server, url, tftp, tuple(each for each in FIRMWARE if each.program in have))


def isc(said: Lines) -> Iterator[str]:
    """Yield lines for dhcpd.conf, outside of every subnet (dhcpd.conf(5), dhcp-eval(5))."""
    yield "option arch code 93 = unsigned integer 16;"
    yield "option ipxe-encapsulated code 175 = string;"
    yield f"next-server {said.tftp};"
    yield 'if exists ipxe-encapsulated or option user-class ~= "iPXE" {'
    yield f'  filename "{said.script}";'
    for firmware in said.firmware:
        # A server that has no file for a number sends none.
        test = " or ".join(f"option arch = 00:{number:02x}" for number in firmware.architectures)
        yield f"}} elsif {test} {{"
        if firmware.http:
            yield '  option vendor-class-identifier "HTTPClient";'
        yield f'  filename "{said.file(firmware)}";'
    yield "}"


def kea(said: Lines) -> Iterator[str]:
    """Yield lines for "Dhcp4" in kea-dhcp4.conf: classes, tried in this order."""
    words = [
        "option[175].exists",
        *(f"substring(option[77].hex,{at},4) == 'iPXE'" for at in (0, 1)),
    ]
    boot = {"next-server": said.tftp, "boot-file-name": said.script}
    classes: list[dict[str, object]] = [{"name": "ipxe", "test": " or ".join(words), **boot}]
    for firmware in said.firmware:
        kinds = " or ".join(f"option[93].hex == {number:#06x}" for number in firmware.architectures)
        made: dict[str, object] = {
            "name": firmware.name,
            "test": f"not member('ipxe') and ({kinds})",
            "next-server": said.tftp,
            "boot-file-name": said.file(firmware),
        }
        if firmware.http:
            made["option-data"] = [
                {"name": "vendor-class-identifier", "data": "HTTPClient", "always-send": True}
            ]
        classes.append(made)
    yield json.dumps({"client-classes": classes}, indent=2).strip("{}").strip("\n")


def dnsmasq(said: Lines) -> Iterator[str]:
    """Yield lines for dnsmasq.conf."""
    yield "dhcp-match=set:ipxe,175"
    yield "dhcp-userclass=set:ipxe,iPXE"
    yield f"dhcp-boot=tag:ipxe,{said.script},{said.tftp},{said.tftp}"
    for firmware in said.firmware:
        for number in firmware.architectures:
            yield f"dhcp-match=set:{firmware.name},option:client-arch,{number}"
        tags = f"tag:!ipxe,tag:{firmware.name}"
        if firmware.http:
            yield f"dhcp-option-force={tags},60,HTTPClient"
        yield f"dhcp-boot={tags},{said.file(firmware)},{said.tftp},{said.tftp}"


def mikrotik(said: Lines) -> Iterator[str]:
    """Yield lines for RouterOS 7: matchers, of which the first that fits is used."""
    rows = [("ipxe", 77, "iPXE", said.script)]
    rows += [
        (
            f"{firmware.name}-{number}",
            60,
            f"{_client(firmware)}:Arch:{number:05}",
            said.file(firmware),
        )
        for firmware in said.firmware
        for number in firmware.architectures
    ]
    yield "# Put the names of your own server and pool in the place of dhcp1 and pool1."
    yield "/ip dhcp-server option"
    yield "add name=sb-http code=60 value=\"s'HTTPClient'\""
    for name, _, _, file in rows:
        yield f"add name=sb-{name} code=67 value=\"s'{file}'\""
    yield "/ip dhcp-server option sets"
    for name, _, said_by, _ in rows:
        http = ",sb-http" if said_by.startswith("HTTP") else ""
        yield f"add name=sb-{name} options=sb-{name}{http}"
    yield "/ip dhcp-server matcher"
    for name, code, said_by, _ in rows:
        yield (f"add name=sb-{name} server=dhcp1 address-pool=pool1 code={code} "
               f'matching-type=substring value="{said_by}" option-set=sb-{name}')  # fmt: skip
    yield f"/ip dhcp-server network set [find] next-server={said.tftp}"


def _client(firmware: Firmware) -> str:
    return "HTTPClient" if firmware.http else "PXEClient"


def opnsense(said: Lines) -> Iterator[str]:
    """Yield what to enter in the form Services, DHCPv4 (ISC), section "Network booting"."""
    labels = {
        "bios": "Set default BIOS file name",
        "ia32": "Set UEFI 32-bit file name",
        "x64": "Set UEFI 64-bit file name",
        "arm64": "Set ARM 64-bit file name",
        "x64-http": "Set x64 UEFI/EBC HTTP boot URL",
    }
    yield "Enable network booting: yes"
    yield f"Set next-server IP: {said.tftp}"
    for firmware in said.firmware:
        if firmware.name in labels:
            yield f"{labels[firmware.name]}: {said.file(firmware)}"
    yield f"Set iPXE boot filename: {said.script}"


KINDS: dict[str, Callable[[Lines], Iterator[str]]] = {
    "dnsmasq": dnsmasq,
    "isc": isc,
    "kea": kea,
    "mikrotik": mikrotik,
    "opnsense": opnsense,
}
