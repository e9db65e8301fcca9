"""A NixOS system: what it boots with, and what was found about it."""

from __future__ import annotations

import platform
from dataclasses import dataclass
from pathlib import Path

from storeboot.errors import UnbootableError
from storeboot.findings import Finding, Level, find
from storeboot.nix.fstab import FstabEntry
from storeboot.nix.rules import RULES
from storeboot.nix.store import Store, StorePath, StoreTree
from storeboot.nix.toplevel import Stage1, Toplevel, traced_specialisations

_PE_MACHINES = {b"\x64\x86": "x86_64", b"\x64\xaa": "aarch64"}  # little-endian


@dataclass(frozen=True, slots=True)
class System:
    """A toplevel that can be booted."""

    toplevel: StorePath
    stage1: Stage1
    machine: str  # its processor, as uname(2) names it
    label: str
    kernel: Path  # physical
    kernel_params: tuple[str, ...]
    modules: StoreTree  # lib/modules/<version>
    modprobe: tuple[str, ...]  # the texts of etc/modprobe.d, in the order of their names
    firmware: tuple[StoreTree, ...]  # where firmware files may be, in the kernel's order
    device_trees: Path | None  # physical; hardware.deviceTree
    initrd: Path | None  # physical; of the system's own stage 1
    masked: tuple[FstabEntry, ...]
    findings: tuple[Finding, ...]  # none of them an error

    @property
    def kernel_version(self) -> str:
        return self.modules.name

    @property
    def init(self) -> str:
        """Return the stage 2 that the kernel command line names; logical."""
        return f"{self.toplevel}/init"


def read_system(store: Store, toplevel: StorePath) -> System:
    """Read a system; raise UnbootableError with the reason if it cannot boot without a disk."""
    store.require(toplevel)
    files = Toplevel(store, toplevel)
    bootspec, stage1, kernel = files.bootspec, files.stage1(), files.kernel()
    findings = find(RULES, files)
    _refuse(toplevel, [each for each in findings if each.level is Level.ERROR])
    modules = files.modules()
    return System(
        toplevel=toplevel,
        stage1=stage1,
        machine=str(bootspec.get("system") or "").partition("-")[0] or kernel_machine(kernel),
        label=bootspec.get("label") or _label(files.text("nixos-version"), toplevel),
        kernel=kernel,
        kernel_params=files.kernel_params,
        modules=modules,
        modprobe=tuple(files.modprobe()),
        firmware=tuple(files.firmware(modules.name)),
        device_trees=files.place("dtbs"),
        initrd=files.place("initrd"),
        masked=tuple(each.entry for each in files.masked),
        findings=findings,
    )


def _label(text: str, toplevel: StorePath) -> str:
    return text.encode(errors="replace").decode().strip() or toplevel.name


def _refuse(toplevel: StorePath, errors: list[Finding]) -> None:
    if errors:
        raise UnbootableError(
            f"{toplevel} cannot boot: "
            + "; ".join(f"{each.subject}: {each.message}" for each in errors),
            "; ".join(dict.fromkeys(each.cure for each in errors)),
        )


def kernel_machine(kernel: Path) -> str:
    """Return the processor that a kernel is for, by its header, or else this machine's.

    Linux's Documentation/arch/arm64/booting.rst describes that of arm64; all others are PE/COFF
    (EFI stub).
    """
    with kernel.open("rb") as stream:
        head = stream.read(4096)
    if head[0x38:0x3C] == b"ARM\x64":
        return "aarch64"
    at = int.from_bytes(head[0x3C:0x40], "little")
    known = _PE_MACHINES.get(head[at + 4 : at + 6]) if head[at : at + 4] == b"PE\0\0" else None
    return known or platform.machine()


def specialisations(store: Store, toplevel: StorePath) -> dict[str, StorePath]:
    """Return the specialisations in a toplevel, by name (`specialisation.<name>`).

    A link that leads to no system is left out: it must not harm anything but itself. The rule
    `specialisation_broken` tells of it.
    """
    return {
        name: found
        for name, found in traced_specialisations(store, toplevel).items()
        if isinstance(found, StorePath)
    }


def broken_specialisations(store: Store, toplevel: StorePath) -> dict[str, str]:
    """Return why the other links in a toplevel's `specialisation` lead to no system, by name."""
    return {
        name: found
        for name, found in traced_specialisations(store, toplevel).items()
        if isinstance(found, str)
    }
