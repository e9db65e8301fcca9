"""Kinds of firmware, by the architecture that they report, and the iPXE for each."""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from storeboot.errors import ConfigError

# "Processor Architecture Types" of IANA's registry (DHCPv6 parameters), for what we say of them.
ARCHITECTURES = {
    0x00: "x86 BIOS", 0x01: "NEC PC-98", 0x02: "Itanium UEFI", 0x03: "DEC Alpha",
    0x04: "Arc x86", 0x05: "Intel Lean Client", 0x06: "x86 UEFI", 0x07: "x64 UEFI",
    0x08: "XScale UEFI", 0x09: "EBC", 0x0A: "32-bit ARM UEFI", 0x0B: "64-bit ARM UEFI",
    0x0C: "PowerPC Open Firmware", 0x0D: "PowerPC ePAPR", 0x0E: "POWER OPAL v3",
    0x0F: "x86 UEFI HTTP", 0x10: "x64 UEFI HTTP", 0x11: "EBC HTTP",
    0x12: "32-bit ARM UEFI HTTP", 0x13: "64-bit ARM UEFI HTTP", 0x14: "x86 BIOS HTTP",
    0x15: "32-bit ARM U-Boot", 0x16: "64-bit ARM U-Boot",
    0x17: "32-bit ARM U-Boot HTTP", 0x18: "64-bit ARM U-Boot HTTP",
    0x19: "32-bit RISC-V UEFI", 0x1A: "32-bit RISC-V UEFI HTTP",
    0x1B: "64-bit RISC-V UEFI", 0x1C: "64-bit RISC-V UEFI HTTP",
    0x1D: "128-bit RISC-V UEFI", 0x1E: "128-bit RISC-V UEFI HTTP",
    0x1F: "s390 basic", 0x20: "s390 extended", 0x21: "32-bit MIPS UEFI",
    0x22: "64-bit MIPS UEFI", 0x23: "32-bit Sunway UEFI", 0x24: "64-bit Sunway UEFI",
    0x25: "32-bit LoongArch UEFI", 0x26: "32-bit LoongArch UEFI HTTP",
    0x27: "64-bit LoongArch UEFI", 0x28: "64-bit LoongArch UEFI HTTP",
    0x29: "Raspberry Pi",
}  # fmt: skip
RASPBERRY = 0x29  # of firmware that knows its own number
_RESTS = ("\udcff", "\udcff\udcff", " ", "\r")  # a byte 255, as file names have it in Python
PLACES = (Path("/usr/lib/ipxe"), Path("/usr/share/ipxe"), Path("/boot"))


@dataclass(frozen=True, slots=True)
class Firmware:
    """The machines that start the same program."""

    name: str
    # "Processor Architecture Types" of IANA's registry, DHCP option 93 (RFC 4578, section 2.1).
    architectures: tuple[int, ...]
    files: tuple[str, ...]  # names that distributions use, the best one first
    http: bool = False  # UEFI HTTP boot: vendor class HTTPClient, and a URL as file name

    @property
    def program(self) -> str:
        """Return the name under which storeboot serves the program."""
        return f"{self.name.removesuffix('-http')}.{'0' if self.name == 'bios' else 'efi'}"

    @property
    def vendor_classes(self) -> tuple[str, ...]:
        """Return how option 60 begins that says these architectures (PXE 2.1, section 2.2.1)."""
        client = "HTTPClient" if self.http else "PXEClient"
        return tuple(f"{client}:Arch:{number:05}" for number in self.architectures)


_X64 = ("ipxe-amd64.efi", "ipxe-x86_64.efi", "ipxe.efi")
_ARM64 = ("ipxe-arm64.efi", "arm64-efi/ipxe.efi", "ipxe-arm64/ipxe.efi")
_RISCV64 = ("ipxe-riscv64.efi", "riscv64-efi/ipxe.efi", "ipxe-riscv64/ipxe.efi")
_IA32 = ("ipxe-i386.efi", "ipxe-ia32.efi", "ipxe32.efi")
FIRMWARE = (
    Firmware("bios", (0,), ("undionly.kpxe",)),
    Firmware("x64", (7, 9), _X64),
    Firmware("ia32", (6,), _IA32),
    # 22: U-Boot, which starts EFI programs as well.
    Firmware("arm64", (11, 22), _ARM64),
    Firmware("riscv64", (27,), _RISCV64),
    Firmware("ia32-http", (15,), _IA32, http=True),
    Firmware("x64-http", (16, 17), _X64, http=True),
    Firmware("arm64-http", (19, 24), _ARM64, http=True),
    Firmware("riscv64-http", (28,), _RISCV64, http=True),
)


def spellings(program: str) -> Iterator[str]:
    """Yield the other names under which firmware asks for a program by TFTP.

    Some reads option 67 without its length, and so takes the option's end (255) or padding for a
    part of the name; some writes all names in capitals, as FAT does. Blanks and returns come from
    the forms and files in which people write the name.
    """
    names = (program, program.upper())
    for name in names:
        yield from (name + rest for rest in ("", *_RESTS) if name + rest != program)


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
