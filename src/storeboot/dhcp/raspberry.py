"""What a Raspberry Pi's firmware reads over TFTP: text and names from values, nothing else.

It asks for files in a directory that is named after the board's serial number, with `config.txt`
the first that differs between systems. The firmware puts `os_prefix` from it in front of kernel,
initramfs, command line and device trees. So one small file decides, and what it leads to never
changes.
"""

from __future__ import annotations

from storeboot.config import SERIAL

# Ethernet addresses of the boards' makers. Their firmware claims to be a BIOS (option 93 is 0).
MAC_PREFIXES = (
    "b8:27:eb", "dc:a6:32", "e4:5f:01", "28:cd:c1", "d8:3a:dd", "2c:cf:67", "88:a2:9e",
)  # fmt: skip
# How option 97 begins, after its type. Boards since the Pi 4: `RPi` and the model's digit, then
# revision, MAC address and serial number (DHCP_OPTION97 in rpi-eeprom-config). The ROM of the
# Pi 3 has but one byte to say.
GUIDS = (b"RPi", b"\x44" * 16)
KERNEL, INITRD, COMMAND_LINE = "kernel8.img", "initramfs", "cmdline.txt"
MENU = "Raspberry Pi Boot"  # older boards wait for this text in a PXE menu
# Files that a board asks for and does without.
OPTIONAL = frozenset({
    "autoboot.txt", "boot.sig", "bootcfg.txt", "cmdline.txt", "dt-blob.bin", "pieeprom.bin",
    "pieeprom.sig", "pieeprom.upd", "recover4.elf", "recovery.bin", "recovery.elf",
    "recovery.img", "recovery7.img", "vl805.bin", "vl805.sig",
})  # fmt: skip


def directory(serials: tuple[str, ...]) -> str | None:
    """Return the directory that a board with one of these serial numbers asks for, or None."""
    found = (match[1] for serial in serials if (match := SERIAL.fullmatch(serial)))
    return next(found, None)


def config_txt(prefix: str, own: str) -> str:
    """Return a board's config.txt; `own` is the administrator's, and its lines come first."""
    lines = [
        *own.splitlines(),
        "[all]",
        f"os_prefix={prefix}/",
        "arm_64bit=1",
        f"kernel={KERNEL}",
        f"initramfs {INITRD} followkernel",
        f"cmdline={COMMAND_LINE}",
    ]
    return "".join(line + "\n" for line in lines)
