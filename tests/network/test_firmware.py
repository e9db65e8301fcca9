"""Machines that boot from their firmware on, over networks that the test makes."""

from __future__ import annotations

import re
import signal
from contextlib import ExitStack
from pathlib import Path

import pytest

from e2e.systems import system
from network.booting import comes_up, details, facts, given, goes_off, stages
from network.firmware import another_dhcp_server, quick
from network.lab import bridged, needs_root
from network.machine import Kind, Nic, machine
from network.serving import MAC, What, served, settings

pytestmark = [needs_root, pytest.mark.e2e, pytest.mark.timeout(1800)]


@pytest.fixture
def what() -> What:
    return quick(system())


@pytest.mark.parametrize("kind", ["bios", pytest.param("uefi", marks=pytest.mark.machines)])
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


@pytest.mark.machines
def test_by_uefi_http_boot(tmp_path: Path, what: What) -> None:
    with bridged("10.77.0.1/24") as server:
        toml = settings(tmp_path, what, mode="full")
        with served(server, toml) as running:
            # What it tries first fails, and it goes on to HTTP.
            (running.state / "dhcp" / "tftp" / "x64.efi").unlink()
            with machine(server, tmp_path, "uefi", [Nic(MAC)]) as booted:
                boot = comes_up(running, booted)
                assert any("HTTPClient" in detail for detail in details(running))
                goes_off(running, boot, booted)


@pytest.mark.machines
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


@pytest.mark.machines
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


@pytest.mark.machines
def test_a_machine_in_each_of_two_networks(tmp_path: Path, what: What) -> None:
    other = "52:54:00:00:00:02"
    more = f"""
[hosts.lab2]
mac = ["{other}"]
address = ["10.78.0.20"]
system = "{what.system}"
"""
    networks = {"br0": "10.77.0.1/24", "br1": "10.78.0.1/24"}
    with bridged("10.77.0.1/24", "10.78.0.1/24") as server, ExitStack() as stack:
        toml = settings(tmp_path, what, mode="full", networks=networks, more=more)
        running = stack.enter_context(served(server, toml))
        started = {}
        for name, nic in (("lab1", Nic(MAC)), ("lab2", Nic(other, "br1"))):
            (tmp_path / name).mkdir()
            started[name] = stack.enter_context(machine(server, tmp_path / name, "bios", [nic]))
        for name, own in (("lab1", "10.77.0.1"), ("lab2", "10.78.0.1")):
            boot = comes_up(running, started[name], host=name)
            assert facts(running, boot)["lower_source"].startswith(f"{own}:")
            goes_off(running, boot, started[name])


@pytest.mark.machines
def test_a_switch_that_drops_everything_for_forty_seconds(tmp_path: Path, what: What) -> None:
    """As one with spanning tree does after link-up: here when the initrd asks for its address."""
    with bridged("10.77.0.1/24") as server:
        toml = settings(tmp_path, what, mode="full")
        with (
            served(server, toml) as running,
            machine(server, tmp_path, "bios", [Nic(MAC)]) as booted,
        ):
            # iPXE has all that it asks for, and the kernel needs seconds to come to the network.
            running.until(lambda: "/initrd... ok" in booted.said(), 300)
            server.ip(f"link set {booted.taps[0]} nomaster")
            running.wait(40)
            assert "network" not in stages(running)
            server.ip(f"link set {booted.taps[0]} master br0")
            goes_off(running, comes_up(running, booted), booted)


@pytest.mark.long
@pytest.mark.timeout(1200)
def test_a_short_lease_outlives_a_stop_and_five_minutes(tmp_path: Path, what: What) -> None:
    """The agent renews it; a machine that stood still for longer asks for it again."""
    with bridged("10.77.0.1/24") as server:
        toml = settings(tmp_path, what, mode="full")
        toml.write_text(toml.read_text().replace("[dhcp]\n", "[dhcp]\nlease = 120\n"))
        with (
            served(server, toml) as running,
            machine(server, tmp_path, "bios", [Nic(MAC)]) as booted,
        ):
            boot = comes_up(running, booted)
            running.wait(300)
            assert facts(running, boot)["address"].split() == ["10.77.0.20"]
            booted.process.send_signal(signal.SIGSTOP)
            running.wait(150)
            booted.process.send_signal(signal.SIGCONT)
            goes_off(running, boot, booted)
