"""A machine in QEMU whose NICs are on a test's bridges, with the firmware of real ones."""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from network.lab import Namespace, tap
from storeboot.vm.qemu import QEMU, require_rom

Kind = Literal["bios", "uefi", "arm64"]
OVMF = Path("/usr/share/OVMF")
ARM64 = Path("/usr/share/qemu-efi-aarch64/QEMU_EFI.fd")


@dataclass(frozen=True, slots=True)
class Nic:
    """A network card and what it is plugged into."""

    mac: str
    bridge: str = "br0"
    boots: bool = True


@dataclass(frozen=True, slots=True)
class Machine:
    """With power on."""

    process: subprocess.Popen[bytes]
    console: Path
    taps: tuple[str, ...]

    def said(self) -> str:
        return self.console.read_text(errors="replace") if self.console.exists() else ""


@contextmanager
def machine(
    server: Namespace,
    directory: Path,
    kind: Kind,
    nics: list[Nic],
    memory: int = 1024,
    stick: Path | None = None,
) -> Iterator[Machine]:
    """From an empty start: nothing but its firmware, and perhaps a USB stick to start from."""
    console = directory / "console"
    argv = ["-nodefaults", "-no-user-config", "-display", "none", "-accel", "tcg",
            "-m", str(memory), "-smp", "1", "-no-reboot", "-serial", f"file:{console}",
            "-device", "virtio-rng-pci"]  # fmt: skip
    if kind == "arm64":
        argv = ["qemu-system-aarch64", *argv, "-machine", "virt", "-cpu", "cortex-a72",
                "-bios", str(ARM64)]  # fmt: skip
    elif kind == "uefi":
        argv = [QEMU, *argv, "-machine", "q35", "-cpu", "max", *_flash(directory)]
    else:
        require_rom()
        argv = [QEMU, *argv, "-machine", "pc,graphics=off", "-cpu", "max"]
    if stick is not None:
        argv += ["-device", "qemu-xhci", "-drive", f"if=none,id=stick,format=raw,file={stick}",
                 "-device", "usb-storage,drive=stick,bootindex=0"]  # fmt: skip
    taps = []
    for number, nic in enumerate(nics):
        taps.append(tap(server, nic.bridge))
        device = f"virtio-net-pci,netdev=net{number},mac={nic.mac}"
        if kind != "bios" or not nic.boots:
            device += ",romfile="  # UEFI has a driver and a network stack of its own
        if nic.boots:
            device += ",bootindex=1"
        argv += ["-netdev", f"tap,id=net{number},ifname={taps[-1]},script=no,downscript=no",
                 "-device", device]  # fmt: skip
    with (directory / "qemu.log").open("wb") as log:
        process = subprocess.Popen(server.argv(*argv), stdout=log, stderr=log)
    try:
        yield Machine(process, console, tuple(taps))
    finally:
        process.kill()
        process.wait()


def _flash(directory: Path) -> list[str]:
    variables = directory / "variables.fd"
    shutil.copyfile(OVMF / "OVMF_VARS_4M.fd", variables)
    code = OVMF / "OVMF_CODE_4M.fd"
    return ["-drive", f"if=pflash,format=raw,readonly=on,file={code}",
            "-drive", f"if=pflash,format=raw,file={variables}"]  # fmt: skip
