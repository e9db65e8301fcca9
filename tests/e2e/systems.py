"""The systems that the tests boot: built once a run, and kept between runs."""

from __future__ import annotations

import os
from pathlib import Path

from storeboot.config import Mode, NfsVersion
from storeboot.vm.demo.build import (
    DemoSystem,
    EtcOverlay,
    Flavour,
    Kind,
    Native,
    NetworkManager,
    build_demo,
)
from storeboot.vm.demo.packages import Machine, Suite
from storeboot.vm.trial import TrialSpec

# Nix takes no symbolic link on the way to a store.
CACHE = Path(
    os.environ.get("STOREBOOT_TEST_CACHE", Path(__file__).parents[2] / ".cache" / "demo")
).resolve()

# Emulation pays dearly for each of a kernel's precautions against the processor's faults.
QUICKLY = ("console=ttyS0", "mitigations=off", "loglevel=4")


def system(
    kind: Kind = "micro",
    *,
    flavour: Flavour = "systemd",
    suite: Suite = "trixie",
    network: NetworkManager = "networkd",
    etc_overlay: EtcOverlay | None = None,
    edition: int = 1,
    machine: Machine = "x86_64",
    native: Native | None = None,
    uml: bool = False,
) -> DemoSystem:
    return build_demo(
        CACHE, kind=kind, flavour=flavour, suite=suite, network=network, etc_overlay=etc_overlay,
        edition=edition, machine=machine, native=native, uml=uml,
    )  # fmt: skip


def drivers(built: DemoSystem) -> tuple[str, ...]:
    """Modules for the machine's card: for QEMU's one, and any for what has its own built in."""
    return ("loop",) if built.uml else ("virtio_net",)


def spec(
    built: DemoSystem,
    directory: Path,
    nfs_version: NfsVersion = "3",
    *,
    disk: Path | None = None,
    kernel_params: tuple[str, ...] = (),
    mode: Mode = "plain",
    firmware: bool = False,
    sample: int = 8,
) -> TrialSpec:
    """A trial of a built system, in QEMU unless its kernel is user-mode Linux.

    One file of `sample` is hashed: every file is so once for each kernel, protocol and mode.

    The machine is given its kernel directly; with `firmware` it finds it by firmware and iPXE.
    """
    return TrialSpec(
        store=built.store,
        system=built.toplevel,
        directory=directory,
        nfs_version=nfs_version,
        mode=mode,
        least_files=built.least_files,
        has_nix=built.has_nix,
        disk=disk,
        kernel_params=(*QUICKLY, *kernel_params),
        drivers=drivers(built),
        firmware=firmware,
        sample=sample,
        uml=built.uml,
    )
