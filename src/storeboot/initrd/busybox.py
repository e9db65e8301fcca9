"""The static busybox of an initrd, for the processor of the system."""

from __future__ import annotations

import platform
from collections.abc import Mapping
from pathlib import Path

from storeboot.errors import CommandError
from storeboot.process import find_program, run

_INSTALL = "install a static busybox (on Debian: apt-get install busybox-static)"
_ELF = b"\x7fELF"
# e_machine of ELF headers, by the name of the processor in uname(2) and Nix.
_MACHINES = {"x86_64": 62, "aarch64": 183, "riscv64": 243}
# Applets that the scripts call. A busybox without one of them is rejected before a machine hangs.
APPLETS = (
    "acpid", "awk", "cat", "chroot", "cut", "date", "df", "dmesg", "env", "find", "findfs",
    "gunzip", "head",
    "hostname", "ip", "mkfifo", "mknod", "mkswap", "modprobe", "mount", "nc", "pidof", "poweroff",
    "readlink", "reboot", "sed", "setsid", "sh", "sha256sum", "sleep", "sort", "stat", "swapon",
    "switch_root", "tail", "timeout", "tr",
    "udhcpc", "umount", "unshare", "wget", "xxd",
)  # fmt: skip


def find_busybox(
    machine: str, configured: Path | None = None, by_machine: Mapping[str, Path] | None = None
) -> Path:
    """Return a static busybox for a processor, with every applet that the scripts call.

    `configured`, or the one on PATH, is for the server's own processor; `by_machine` is for others.
    """
    own = platform.machine()
    busybox = (by_machine or {}).get(machine)
    if busybox is None and machine == own:
        busybox = configured or find_program("busybox", _INSTALL)
    if busybox is None:
        raise CommandError(
            f"no static busybox is configured for {machine} machines",
            f"name one: initrd.busyboxes.{machine} in the configuration",
        )
    if not busybox.is_file():
        raise CommandError(
            f"{busybox} is not a file", "correct initrd.busybox in the configuration"
        )
    data = busybox.read_bytes()
    if data[:4] != _ELF or b"ld-linux" in data[:4096] or b"ld-musl" in data[:4096]:
        raise CommandError(f"{busybox} is not a static program", _INSTALL)
    if int.from_bytes(data[18:20], "little") != _MACHINES.get(machine):
        raise CommandError(
            f"{busybox} is not for {machine} machines", f"correct initrd.busyboxes.{machine}"
        )
    missing = sorted(set(APPLETS) - applets(busybox))
    if missing:
        raise CommandError(
            f"{busybox} was built without {', '.join(missing)}",
            "name another one: initrd.busybox in the configuration",
        )
    return busybox


def applets(busybox: Path) -> set[str]:
    """Return the applets that it lists, or, if it cannot run here, those found in its table."""
    data = busybox.read_bytes()
    if int.from_bytes(data[18:20], "little") == _MACHINES.get(platform.machine()):
        return set(run([busybox, "--list"]).split())
    known = {*run([find_program("busybox", _INSTALL), "--list"]).split(), *APPLETS}
    return {name for name in known if b"\0%s\0" % name.encode() in data}
