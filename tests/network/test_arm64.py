"""A machine with another processor than the server's."""

from __future__ import annotations

from pathlib import Path

import pytest

from e2e.systems import system
from network.booting import comes_up, facts, goes_off
from network.firmware import quick, trixie_ipxe
from network.lab import bridged, needs_root
from network.machine import Nic, machine
from network.serving import MAC, served, settings
from storeboot import config
from storeboot.boot.report import parse_hashes
from storeboot.deploy.inventory import opened
from storeboot.vm.hashes import closure_hashes

pytestmark = [needs_root, pytest.mark.e2e, pytest.mark.machines, pytest.mark.timeout(1800)]


def test_from_uefi_to_a_verified_store(tmp_path: Path) -> None:
    ipxe = trixie_ipxe(tmp_path) / "ipxe-arm64.efi"
    built = system(machine="aarch64")
    busybox = built.store.follow(built.toplevel, "sw/bin/busybox")
    assert busybox is not None
    what = quick(built, {"arm64": ipxe}, {"aarch64": busybox})
    with bridged("10.77.0.1/24") as server:
        toml = settings(tmp_path, what, mode="full")
        with (
            served(server, toml) as running,
            machine(server, tmp_path, "arm64", [Nic(MAC)]) as booted,
        ):
            boot = comes_up(running, booted, seconds=500)
            said = facts(running, boot)
            assert said["kernel"].endswith("-arm64")
            assert said["lower_fstype"] == "nfs"
            with opened(config.load(toml)) as inventory:
                view = inventory.state.views.get(boot.view)
                hashes = parse_hashes(inventory.state.reports.file(boot.id, "hashes").read_bytes())
            assert view is not None
            assert hashes == closure_hashes(built.store, view.paths)
            assert len(hashes) > 1000
            goes_off(running, boot, booted)
