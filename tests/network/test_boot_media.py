"""Machines that start from a stick, where nobody's DHCP names a boot file."""

from __future__ import annotations

from pathlib import Path

import pytest

from e2e.systems import system
from network.booting import comes_up, goes_off
from network.firmware import another_dhcp_server, quick, trixie_ipxe
from network.lab import bridged, needs_root
from network.machine import Kind, Nic, machine
from network.serving import MAC, Served, What, served, settings
from storeboot.process import run

pytestmark = [needs_root, pytest.mark.e2e, pytest.mark.timeout(1800)]


@pytest.fixture
def what(tmp_path: Path) -> What:
    return quick(system(), {"x64": trixie_ipxe(tmp_path) / "ipxe-amd64.efi"})


@pytest.mark.machines
@pytest.mark.parametrize("kind", ["bios", "uefi"])
def test_from_a_stick_to_our_system(tmp_path: Path, what: What, kind: Kind) -> None:
    stick = tmp_path / "stick.img"
    with bridged("10.77.0.1/24") as server, another_dhcp_server(server, tmp_path):
        toml = settings(tmp_path, what, mode="off")
        with served(server, toml) as running:
            said = running.command("boot-media", str(stick), "--image")
            assert {"autoexec.ipxe", "EFI/BOOT/BOOTX64.EFI", "ipxe.lkrn", "syslinux.cfg"} <= set(
                said.split()
            )
            nic = Nic(MAC, boots=False)
            with machine(server, tmp_path, kind, [nic], stick=stick) as booted:
                boot = comes_up(running, booted)
                assert boot.address.startswith("10.77.0.1")
                goes_off(running, boot, booted)


def test_files_and_a_dry_run(tmp_path: Path, what: What) -> None:
    toml = settings(tmp_path, what, mode="off")
    place = tmp_path / "stick"
    words = [*Served.argv(toml)[:1], "boot-media", str(place), "--config", str(toml)]
    run([*words, "--dry-run"])
    assert not place.exists()
    run(words)
    assert (
        "chain --autofree --replace http://10.77.0.1:8080/boot.ipxe"
        in (place / "autoexec.ipxe").read_text()
    )
    assert (place / "EFI" / "BOOT" / "BOOTX64.EFI").is_file()
