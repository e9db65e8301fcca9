"""Lines for another DHCP server, so that its machines boot from this server.

The programs come over TFTP from the server that the lines name, or over HTTP from storeboot.

Firmware, iPXE and each system put another name into option 61, and a server that tells clients
apart by that gives one machine several addresses. So all lines ask the server to go by the MAC
address. As in storeboot's own server, option 93 counts, and without it what option 60 says.
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
    yield "# A machine is its MAC address: firmware, iPXE and systems call it by different names."
    yield "ignore-client-uids true;"
    yield "option arch code 93 = unsigned integer 16;"
    yield "option ipxe-encapsulated code 175 = string;"
    yield f"next-server {said.tftp};"
    yield 'if exists ipxe-encapsulated or option user-class ~= "iPXE" {'
    yield f'  filename "{said.script}";'
    for firmware in said.firmware:
        # A server that has no file for a number sends none.
        yield f"}} elsif {' or '.join(_isc_tests(firmware))} {{"
        if firmware.http:
            yield '  option vendor-class-identifier "HTTPClient";'
        yield f'  filename "{said.file(firmware)}";'
    yield "}"


def _isc_tests(firmware: Firmware) -> Iterator[str]:
    """Yield what holds for a request of this firmware, for dhcpd."""
    for number in firmware.architectures:
        yield f"option arch = 00:{number:02x}"
    for words in firmware.vendor_classes:
        start = f"substring(option vendor-class-identifier, 0, {len(words)})"
        yield f'(not exists arch and {start} = "{words}")'
    if firmware.name == "bios":
        yield '(not exists arch and option vendor-class-identifier = "PXEClient")'


def kea(said: Lines) -> Iterator[str]:
    """Yield lines for "Dhcp4" in kea-dhcp4.conf: classes, tried in this order."""
    words = [
        "option[175].exists",
        *(f"substring(option[77].hex,{at},4) == 'iPXE'" for at in (0, 1)),
    ]
    boot = {"next-server": said.tftp, "boot-file-name": said.script}
    classes: list[dict[str, object]] = [{"name": "ipxe", "test": " or ".join(words), **boot}]
    for firmware in said.firmware:
        made: dict[str, object] = {
            "name": firmware.name,
            "test": f"not member('ipxe') and ({' or '.join(_kea_tests(firmware))})",
            "next-server": said.tftp,
            "boot-file-name": said.file(firmware),
        }
        if firmware.http:
            made["option-data"] = [
                {"name": "vendor-class-identifier", "data": "HTTPClient", "always-send": True}
            ]
        classes.append(made)
    made_of = {"match-client-id": False, "client-classes": classes}
    yield json.dumps(made_of, indent=2).strip("{}").strip("\n")


def _kea_tests(firmware: Firmware) -> Iterator[str]:
    """Yield what holds for a request of this firmware, for Kea."""
    for number in firmware.architectures:
        yield f"option[93].hex == {number:#06x}"
    for words in firmware.vendor_classes:
        start = f"substring(option[60].hex,0,{len(words)}) == '{words}'"
        yield f"(not option[93].exists and {start})"
    if firmware.name == "bios":
        yield "(not option[93].exists and option[60].hex == 'PXEClient')"


def dnsmasq(said: Lines) -> Iterator[str]:
    """Yield lines for dnsmasq.conf."""
    yield "# A machine is its MAC address: firmware, iPXE and systems call it by different names."
    yield "dhcp-ignore-clid"
    yield "dhcp-match=set:ipxe,175"
    yield "dhcp-userclass=set:ipxe,iPXE"
    yield f"dhcp-boot=tag:ipxe,{said.script},{said.tftp},{said.tftp}"
    yield "dhcp-match=set:arch,93"
    yield "dhcp-vendorclass=set:class,Client:Arch:"
    for firmware in said.firmware:
        for number in firmware.architectures:
            yield f"dhcp-match=set:{firmware.name},option:client-arch,{number}"
        for words in firmware.vendor_classes:
            yield f"dhcp-vendorclass=set:class-{firmware.name},{words}"
        yield f"tag-if=set:{firmware.name},tag:!arch,tag:class-{firmware.name}"
        if firmware.name == "bios":
            yield "tag-if=set:bios,tag:!arch,tag:!class"
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
    yield "# A server of RouterOS knows a machine by option 61, and firmware, iPXE and systems say"
    yield "# different ones. For one address, make its lease static and leave only the MAC address:"
    yield '#   /ip dhcp-server lease make-static [find mac-address="52:54:00:12:34:56"]'
    yield '#   /ip dhcp-server lease set [find mac-address="52:54:00:12:34:56"] client-id=""'
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
    yield "Ignore Client UIDs (above, in the same form): yes"
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
