"""A NixOS toplevel: what it boots with, and what in it does not work on a diskless machine.

The files of a toplevel are from nixpkgs: nixos/modules/system/activation/top-level.nix and
bootspec.nix.
"""

from __future__ import annotations

import json
import platform
import re
from dataclasses import dataclass
from enum import Enum
from pathlib import Path
from typing import Any

from storeboot.errors import UnbootableError
from storeboot.nix.fstab import PROVIDED, FstabEntry, parse_fstab
from storeboot.nix.store import Store, StorePath

_PE_MACHINES = {b"\x64\x86": "x86_64", b"\x64\xaa": "aarch64"}  # little-endian
BOOTSPEC_V1 = "org.nixos.bootspec.v1"
NIXOS_INIT_V1 = "org.nixos.nixos-init.v1"


class Stage1(Enum):
    """The stage 1 that the system was built for (`boot.initrd.systemd.enable`)."""

    SCRIPTED = "scripted"
    SYSTEMD = "systemd"


class Treatment(Enum):
    """How storeboot treats something that a system contains."""

    MASKED = "masked"
    DONE = "done"
    REFUSED = "refused"


@dataclass(frozen=True, slots=True)
class Trait:
    """Something that a system contains, and how it is treated on a diskless machine."""

    name: str
    treatment: Treatment
    reason: str


@dataclass(frozen=True, slots=True)
class System:
    """A toplevel that can be booted."""

    toplevel: StorePath
    stage1: Stage1
    machine: str  # its processor, as uname(2) names it
    label: str
    kernel: Path  # physical
    kernel_params: tuple[str, ...]
    modules: Path  # physical; the directory lib/modules/<version>
    firmware: Path | None  # physical
    device_trees: Path | None  # physical; hardware.deviceTree
    initrd: Path | None  # physical; of the system's own stage 1
    masked: tuple[FstabEntry, ...]
    traits: tuple[Trait, ...]

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
    reader = _Reader(store, toplevel)
    bootspec = reader.bootspec()
    stage1 = reader.stage1()
    kernel = reader.kernel()
    fstab = parse_fstab(reader.text("etc/fstab") or "")
    masked = tuple(entry for entry in fstab if _is_masked(entry))
    traits = (*_file_system_traits(fstab), *reader.traits(bootspec))
    refused = [trait for trait in traits if trait.treatment is Treatment.REFUSED]
    if refused:
        raise UnbootableError(
            f"{toplevel} cannot boot without a disk: "
            + "; ".join(f"{trait.name}: {trait.reason}" for trait in refused),
            "change the system's configuration and build it again",
        )
    params = bootspec.get("kernelParams")
    if params is None:
        params = (reader.text("kernel-params") or "").split()
    return System(
        toplevel=toplevel,
        stage1=stage1,
        machine=str(bootspec.get("system", "")).partition("-")[0] or kernel_machine(kernel),
        label=bootspec.get("label") or (reader.text("nixos-version") or toplevel.name).strip(),
        kernel=kernel,
        kernel_params=tuple(params),
        modules=reader.modules(),
        firmware=store.follow(toplevel, "firmware"),
        device_trees=store.follow(toplevel, "dtbs"),
        initrd=store.follow(toplevel, "initrd"),
        masked=masked,
        traits=traits,
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
    """Return the specialisations in a toplevel, by name (`specialisation.<name>`)."""
    place = store.follow(toplevel, "specialisation")
    if place is None or not place.is_dir():
        return {}
    links = sorted(child for child in place.iterdir() if child.is_symlink())
    return {link.name: StorePath.from_arg(str(link.readlink())) for link in links}


class _Reader:
    """Reads the files of one toplevel."""

    def __init__(self, store: Store, toplevel: StorePath) -> None:
        self.store = store
        self.toplevel = toplevel

    def text(self, relative: str) -> str | None:
        place = self.store.follow(self.toplevel, relative)
        return place.read_text() if place is not None and place.is_file() else None

    def bootspec(self) -> dict[str, Any]:
        """Return boot.json: v1 under its key, the older preview under "v1", or nothing at all."""
        text = self.text("boot.json")
        if text is None:
            return {}
        try:
            document = json.loads(text)
        except json.JSONDecodeError:
            raise UnbootableError(
                f"{self.toplevel}/boot.json is not JSON", "build the system again"
            ) from None
        spec = document.get(BOOTSPEC_V1) or document.get("v1") or {}
        if NIXOS_INIT_V1 in document:
            spec = {**spec, NIXOS_INIT_V1: document[NIXOS_INIT_V1]}
        return dict(spec)

    def stage1(self) -> Stage1:
        place = self.store.follow(self.toplevel, "init")
        if place is None or not place.is_file():
            raise UnbootableError(
                f"{self.toplevel} is not a NixOS system: it has no init",
                "give a toplevel: config.system.build.toplevel, or /run/current-system",
            )
        if self.store.follow(self.toplevel, "prepare-root") is not None:
            return Stage1.SYSTEMD
        with place.open("rb") as stream:
            if stream.read(2) == b"#!":
                return Stage1.SCRIPTED
        if NIXOS_INIT_V1 in self.bootspec():
            return Stage1.SYSTEMD
        raise UnbootableError(
            f"{self.toplevel} has neither a stage-2 script as init nor a prepare-root",
            "storeboot boots systems with NixOS' scripted or systemd stage 1",
        )

    def kernel(self) -> Path:
        place = self.store.follow(self.toplevel, "kernel")
        if place is None or not place.is_file():
            raise UnbootableError(
                f"{self.toplevel} has no kernel", "set boot.kernel.enable = true and build again"
            )
        return place

    def modules(self) -> Path:
        base = self.store.follow(self.toplevel, "kernel-modules")
        parent = base / "lib/modules" if base is not None else None
        versions = sorted(parent.iterdir()) if parent is not None and parent.is_dir() else []
        if len(versions) != 1 or not versions[0].joinpath("modules.dep").is_file():
            raise UnbootableError(
                f"{self.toplevel} has no kernel-modules with one lib/modules/<version>",
                "set boot.kernel.enable = true and build again",
            )
        return versions[0]

    def traits(self, bootspec: dict[str, Any]) -> list[Trait]:
        found = []
        if NIXOS_INIT_V1 in bootspec:
            found.append(
                Trait(
                    "system.nixos-init.enable",
                    Treatment.REFUSED,
                    "its init needs the work of its own initrd, which storeboot's initrd cannot do",
                )
            )
        if _has_lines(self.text("etc/crypttab")):
            found.append(Trait("etc/crypttab", Treatment.REFUSED, "LUKS devices need a local disk"))
        if self._has_initrd_secrets(bootspec):
            found.append(
                Trait(
                    "boot.initrd.secrets",
                    Treatment.REFUSED,
                    "anyone on the network could fetch the secrets",
                )
            )
        if self.store.follow(self.toplevel, "etc-metadata-image") is not None:
            found.append(
                Trait("system.etc.overlay", Treatment.DONE, "mounted before stage 2 starts")
            )
        return found

    def _has_initrd_secrets(self, bootspec: dict[str, Any]) -> bool:
        """Return whether secrets would be copied; older nixpkgs always write the appending
        script."""
        script = self.text("append-initrd-secrets") or ""
        return bool(re.search(r"^\s*cp -a ", script, re.MULTILINE)) or (
            "initrdSecrets" in bootspec and not script
        )


def _is_masked(entry: FstabEntry) -> bool:
    """Return whether an entry is masked; swap files are, as they would be in a tmpfs."""
    return entry.is_swap or (entry.on_local_disk and entry.mount_point not in PROVIDED)


def _file_system_traits(fstab: tuple[FstabEntry, ...]) -> list[Trait]:
    traits = []
    for entry in fstab:
        if not _is_masked(entry):
            continue
        name = f"fileSystems.{json.dumps(entry.mount_point)} on {entry.device}"
        if entry.is_swap:
            name = f"swapDevices {entry.device}"
        if entry.needed_for_boot:
            traits.append(
                Trait(name, Treatment.REFUSED, "neededForBoot, but there is no local disk")
            )
        else:
            traits.append(Trait(name, Treatment.MASKED, "there is no local disk"))
    return traits


def _has_lines(text: str | None) -> bool:
    lines = (text or "").splitlines()
    return any(line.strip() and not line.lstrip().startswith("#") for line in lines)
