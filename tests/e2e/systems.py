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

CACHE = Path(os.environ.get("STOREBOOT_TEST_CACHE", Path(__file__).parents[2] / ".cache" / "demo"))


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
) -> DemoSystem:
    return build_demo(
        CACHE, kind=kind, flavour=flavour, suite=suite, network=network, etc_overlay=etc_overlay,
        edition=edition, machine=machine, native=native,
    )  # fmt: skip


def spec(
    built: DemoSystem,
    directory: Path,
    nfs_version: NfsVersion = "3",
    *,
    disk: Path | None = None,
    kernel_params: tuple[str, ...] = ("console=ttyS0",),
    mode: Mode = "plain",
) -> TrialSpec:
    return TrialSpec(
        store=built.store,
        system=built.toplevel,
        directory=directory,
        nfs_version=nfs_version,
        mode=mode,
        least_files=built.least_files,
        has_nix=built.has_nix,
        disk=disk,
        kernel_params=kernel_params,
    )
