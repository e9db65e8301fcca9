"""Kinds of firmware, by the architecture that they report, and the iPXE for each."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

from storeboot.errors import ConfigError

PLACES = (Path("/usr/lib/ipxe"), Path("/usr/share/ipxe"), Path("/boot"))


@dataclass(frozen=True, slots=True)
class Firmware:
    """The machines that start the same program."""

    name: str
    # "Processor Architecture Types" of IANA's registry, DHCP option 93 (RFC 4578, section 2.1).
    architectures: tuple[int, ...]
    files: tuple[str, ...]  # names that distributions use, the best one first
    http: bool = False  # UEFI HTTP boot: vendor class HTTPClient, and a URL as file name
    service: str = ""  # dnsmasq's name for it in a PXE menu, needed for proxyDHCP

    @property
    def program(self) -> str:
        """Return the name under which storeboot serves the program."""
        return f"{self.name.removesuffix('-http')}.{'0' if self.name == 'bios' else 'efi'}"


_X64 = ("ipxe-amd64.efi", "ipxe-x86_64.efi", "ipxe.efi")
_ARM64 = ("ipxe-arm64.efi", "arm64-efi/ipxe.efi", "ipxe-arm64/ipxe.efi")
_IA32 = ("ipxe-i386.efi", "ipxe-ia32.efi", "ipxe32.efi")
FIRMWARE = (
    Firmware("bios", (0,), ("undionly.kpxe",), service="x86PC"),
    Firmware("x64", (7, 9), _X64, service="X86-64_EFI"),
    Firmware("ia32", (6,), _IA32, service="IA32_EFI"),
    Firmware("arm64", (11,), _ARM64, service="ARM64_EFI"),
    Firmware("ia32-http", (15,), _IA32, http=True),
    Firmware("x64-http", (16,), _X64, http=True),
    Firmware("arm64-http", (19,), _ARM64, http=True),
)


def is_there(program: Path) -> bool:
    """Return whether the program can be read; False if a directory on the way is closed to us."""
    return os.access(program, os.R_OK) and program.is_file()


def require_kinds(given: dict[str, Path]) -> None:
    """Raise ConfigError if the setting `dhcp.ipxe` names a kind of firmware that does not exist."""
    known = {firmware.name for firmware in FIRMWARE if not firmware.http}
    unknown = sorted(given.keys() - known)
    if unknown:
        raise ConfigError(
            f"dhcp.ipxe has no firmware {unknown[0]!r}", f"there are: {', '.join(sorted(known))}"
        )


def find_programs(given: dict[str, Path]) -> dict[str, Path]:
    """Return the iPXE of each kind that has one, by the name under which it is served.

    `given` is the setting `dhcp.ipxe`, which takes precedence over the distribution's programs.
    """
    require_kinds(given)
    found: dict[str, Path] = {}
    for firmware in FIRMWARE:
        if firmware.http:
            continue
        if firmware.name in given:
            if not is_there(given[firmware.name]):
                raise ConfigError(
                    f"dhcp.ipxe.{firmware.name}: {given[firmware.name]} is not a file",
                    "correct the path, or leave it out to use the distribution's",
                )
            found[firmware.program] = given[firmware.name]
            continue
        places = (place / name for name in firmware.files for place in PLACES)
        program = next((place for place in places if is_there(place)), None)
        if program is not None:
            found[firmware.program] = program
    return found
