"""The contents of a USB stick or ISO image that boots a machine from this server.

The DHCP server need not name anything: the medium has iPXE, and the script that iPXE looks for
beside itself.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from storeboot.errors import CommandError

SCRIPT = "autoexec.ipxe"
# Where UEFI looks on removable media (UEFI specification, section 3.5.1.1).
_REMOVABLE = {
    "x64.efi": "BOOTX64.EFI",
    "ia32.efi": "BOOTIA32.EFI",
    "arm64.efi": "BOOTAA64.EFI",
    "riscv64.efi": "BOOTRISCV64.EFI",
}
_BIOS = "ipxe.lkrn"
_SYSLINUX = f"""\
DEFAULT storeboot
LABEL storeboot
  KERNEL {_BIOS}
  INITRD {SCRIPT}
"""
_PAUSE = 5  # seconds


def script(url: str) -> str:
    """Return a script that gets an address from any DHCP server, and tries this server forever."""
    return f"""#!ipxe
:again
dhcp || goto failed
chain --autofree --replace {url}/boot.ipxe || goto failed
:failed
echo storeboot: {url} was not reached, again in {_PAUSE} seconds
sleep {_PAUSE}
goto again
"""


def files(programs: Mapping[str, Path], bios: Path | None, url: str) -> dict[str, bytes]:
    """Return the files by name; `bios` is iPXE as a kernel (ipxe.lkrn), which SYSLINUX starts."""
    made: dict[str, bytes] = {}
    for program, name in _REMOVABLE.items():
        if program not in programs:
            continue
        data = programs[program].read_bytes()
        if SCRIPT.encode() not in data:
            raise CommandError(
                f"{programs[program]} is too old to look for {SCRIPT} beside itself",
                f"name iPXE 1.21.1 or newer: dhcp.ipxe.{program.removesuffix('.efi')}",
            )
        made[f"EFI/BOOT/{name}"] = data
    if bios is not None:
        made |= {_BIOS: bios.read_bytes(), "syslinux.cfg": _SYSLINUX.encode()}
    if not made:
        raise CommandError("no iPXE is installed for any firmware", "set dhcp.ipxe")
    return made | {SCRIPT: script(url).encode()}
