"""Machines that boot from their firmware on, over networks that the test makes."""

from __future__ import annotations

import re
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from e2e.systems import system
from network.lab import Namespace, attached, bridged, needs_root
from network.machine import Kind, Machine, Nic, machine
from network.serving import MAC, Served, What, served, settings
from storeboot import config
from storeboot.boot.report import parse_facts
from storeboot.deploy.inventory import opened
from storeboot.hosts.boots import Boot
from storeboot.hosts.orders import Order

pytestmark = [needs_root, pytest.mark.e2e, pytest.mark.timeout(600)]
BOOT_SECONDS = 300.0


@pytest.fixture
def what() -> What:
    built = system()
    return What(built.store.root, built.toplevel.text)


def boot_of(running: Served) -> Boot | None:
    with opened(config.load(running.toml)) as inventory:
        return inventory.boots.latest("lab1")


def stages(running: Served) -> list[str]:
    with opened(config.load(running.toml)) as inventory:
        return [event.stage for event in inventory.boots.events_since("lab1", 0)]


def comes_up(running: Served, booted: Machine) -> Boot:
    """Until it says so; on a failure, what it has said."""

    def is_up() -> bool:
        assert booted.process.poll() is None, booted.said()[-3000:]
        found = stages(running)
        assert "failed" not in found, booted.said()[-3000:]
        return "multi-user" in found

    try:
        running.until(is_up, BOOT_SECONDS)
    except AssertionError:
        print(booted.said()[-5000:])
        raise
    boot = boot_of(running)
    assert boot is not None
    return boot


def facts(running: Served, boot: Boot) -> dict[str, str]:
    """The machine's own account, after it has read all of its store."""
    with opened(config.load(running.toml)) as inventory:
        inventory.orders.give(boot.id, Order.REPORT)
        file = inventory.state.report(boot.id, "facts")
    running.until(file.exists, BOOT_SECONDS)
    return parse_facts(file.read_text())


def goes_off(running: Served, boot: Boot, booted: Machine) -> None:
    with opened(config.load(running.toml)) as inventory:
        inventory.orders.give(boot.id, Order.POWEROFF)
    assert booted.process.wait(120) == 0


def given(running: Served) -> set[str]:
    """Addresses that our dnsmasq has given."""
    leases = running.state / "dhcp" / "leases"
    return (
        {line.split()[2] for line in leases.read_text().splitlines()} if leases.exists() else set()
    )


@pytest.mark.parametrize("kind", ["bios", "uefi"])
def test_from_an_empty_start_to_our_system(tmp_path: Path, what: What, kind: Kind) -> None:
    with bridged("10.77.0.1/24") as server:
        toml = settings(tmp_path, what, mode="full")
        with served(server, toml) as running, machine(server, tmp_path, kind, [Nic(MAC)]) as booted:
            boot = comes_up(running, booted)
            # Firmware, iPXE, initrd and stage 2 have the address that was kept for the host.
            assert boot.address == "10.77.0.20"
            assert facts(running, boot)["address"].split() == ["10.77.0.20"]
            assert given(running) == {"10.77.0.20"}
            assert stages(running)[0] == "address"
            assert ("firmware" in stages(running)) == (kind == "uefi")
            goes_off(running, boot, booted)


def test_by_uefi_http_boot(tmp_path: Path, what: What) -> None:
    with bridged("10.77.0.1/24") as server:
        toml = settings(tmp_path, what, mode="full")
        with served(server, toml) as running:
            # What it tries first fails, and it goes on to HTTP.
            (running.state / "dhcp" / "tftp" / "x64.efi").unlink()
            with machine(server, tmp_path, "uefi", [Nic(MAC)]) as booted:
                boot = comes_up(running, booted)
                assert "vendor class: HTTPClient" in running.log.read_text()
                goes_off(running, boot, booted)


@contextmanager
def another_dhcp_server(server: Namespace, directory: Path) -> Iterator[Path]:
    """Which knows nothing of booting; gives its leases."""
    leases = directory / "their-leases"
    with attached(server, address="10.77.0.2/24") as other:
        argv = ["dnsmasq", "--port=0", "--keep-in-foreground", "--conf-file=/dev/null",
                "--interface=eth0", "--dhcp-range=10.77.0.150,10.77.0.160",
                f"--dhcp-leasefile={leases}", "--user=root", "--log-facility=-"]  # fmt: skip
        with subprocess.Popen(other.argv(*argv), stderr=subprocess.PIPE, text=True) as theirs:
            assert theirs.stderr is not None
            while "started" not in theirs.stderr.readline():
                continue
            try:
                yield leases
            finally:
                theirs.terminate()


@pytest.mark.parametrize("kind", ["bios", "uefi"])
def test_beside_another_dhcp_server(tmp_path: Path, what: What, kind: Kind) -> None:
    with bridged("10.77.0.1/24") as server, another_dhcp_server(server, tmp_path) as leases:
        toml = settings(tmp_path, what, mode="proxy")
        with served(server, toml) as running, machine(server, tmp_path, kind, [Nic(MAC)]) as booted:
            boot = comes_up(running, booted)
            theirs = {line.split()[2] for line in leases.read_text().splitlines()}
            assert boot.address in theirs
            assert re.fullmatch(r"10\.77\.0\.1[56][0-9]", boot.address)
            assert not given(running)
            goes_off(running, boot, booted)


def test_from_the_second_of_two_nics(tmp_path: Path, what: What) -> None:
    with bridged("10.77.0.1/24", "10.78.0.1/24") as server:
        toml = settings(
            tmp_path, what, mode="full", networks={"br0": "10.77.0.1/24", "br1": "10.78.0.1/24"}
        )
        first = Nic("52:54:00:00:00:77", "br1", boots=False)
        with (
            served(server, toml) as running,
            machine(server, tmp_path, "bios", [first, Nic(MAC)]) as booted,
        ):
            boot = comes_up(running, booted)
            assert boot.address == "10.77.0.20"
            assert facts(running, boot)["lower_source"].startswith("10.77.0.1:")
            goes_off(running, boot, booted)
