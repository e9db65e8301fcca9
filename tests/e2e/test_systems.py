"""Real systemd in a machine without disks: flavours, protocols, kernels, network managers."""

from __future__ import annotations

import asyncio
import hashlib
import json
from pathlib import Path

import pytest

from e2e.systems import CACHE, spec, system
from storeboot.config import NfsVersion
from storeboot.process import LONG, run
from storeboot.service.boot_service import BootService
from storeboot.vm.demo.build import Flavour, NetworkManager
from storeboot.vm.demo.packages import Suite
from storeboot.vm.trial import run_trial, started

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(1800)]
GUEST_ADDRESS = "10.0.2.15"  # what QEMU's DHCP server gives


@pytest.mark.parametrize(
    "mode", [(), pytest.param(("--mode", "plain"), marks=pytest.mark.machines)]
)
def test_the_demo_command_reports_all_that_it_verified(mode: tuple[str, ...]) -> None:
    """`storeboot demo --json`, as a user runs it: with a pack, if nothing else is said."""
    output = run([".venv/bin/storeboot", "demo", "--json", "--directory", CACHE, *mode],
                 cwd=Path(__file__).parents[2], seconds=LONG)  # fmt: skip
    report = json.loads(output)
    assert report["outcome"] == "ok"
    names = [stage["name"] for stage in report["stages"]]
    waited = {"await-pack"} & set(names)  # unless the pack was there before
    pack = [] if mode else [*waited, "pack"]
    assert names == ["script", "kernel", "initrd", "drivers", "network", "begin", "mount",
                     *pack, "overlay", "prepare", "switch-root", "agent", "multi-user",
                     "shutdown"]  # fmt: skip
    seconds = [stage["seconds"] for stage in report["stages"]]
    assert seconds == sorted(seconds)
    assert report["nfs"]["version"] == "3"
    assert report["mode"] == ("plain" if mode else "pack")
    rpcs = sum(report["nfs"]["rpcs"].values())
    if mode:
        assert rpcs > 2000
        assert report["nfs"]["bytes_read"] > 1_000_000
    else:  # the very first boot, or a later one in a cache that was kept
        assert rpcs <= 600
    guest = report["guest"]
    assert guest["overlay"] is True
    assert guest["lower_fstype"] == "nfs"
    assert guest["write_ok"] is True
    assert guest["files_hashed"] >= 5000
    assert guest["hash_mismatches"] == 0
    assert guest["closure_valid"] is True
    assert guest["poweroff_seconds"] <= 60
    assert guest["address"] == GUEST_ADDRESS
    assert guest["hostname"] == "demo"
    assert guest["failed_units"] == []


@pytest.mark.machines
@pytest.mark.parametrize(
    ("suite", "flavour", "network", "nfs"),
    [
        ("trixie", "scripted", "NetworkManager", "4.2"),
        ("bookworm", "systemd", "dhcpcd", "4.2"),
        ("bookworm", "scripted", "networkd", "3"),
    ],
)
async def test_system(
    suite: Suite, flavour: Flavour, network: NetworkManager, nfs: NfsVersion, tmp_path: Path
) -> None:
    """Every file verified; the address of the initrd is the only one, and still there."""
    built = system("demo", suite=suite, flavour=flavour, network=network)
    disk = tmp_path / "disk"
    before = _write_disk(disk)
    outcome = await run_trial(spec(built, tmp_path, nfs, disk=disk, sample=1), print)
    facts = outcome.report.facts
    assert outcome.report.boot.version == nfs
    assert facts["address"].split() == [GUEST_ADDRESS]
    assert facts["kernel"].startswith({"trixie": "6.12.", "bookworm": "6.1."}[suite])
    assert facts["client_id"] == f"storeboot-{facts['machine_id']}"
    # Where the module is loaded; Linux 6.1 loads it for NFSv3 as well.
    assert facts["delegation_watermark"] in ({"1000000"} if nfs == "4.2" else {"1000000", ""})
    # The system's fstab wants that disk; it was masked, so nothing waited for it or touched it.
    assert facts["failed_units"].split() == []
    assert _digest(disk) == before


def _write_disk(disk: Path) -> str:
    """A disk that invites: labelled as the one that the system's fstab mounts."""
    with disk.open("wb") as stream:
        stream.truncate(64 << 20)
    run(["/usr/sbin/mke2fs", "-q", "-t", "ext4", "-L", "nixos", disk])
    return _digest(disk)


def _digest(disk: Path) -> str:
    with disk.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


async def test_power_off_ends_when_the_server_is_gone(tmp_path: Path) -> None:
    """The power button, with nobody left to read the store from."""
    built = system("demo")
    async with started(spec(built, tmp_path), print) as trial:
        await trial.reach("multi-user")
        # Some seconds of ordinary running, so that it is not its own start that is cut off.
        await _heartbeats(trial.service, 2)
        await trial.server.stop()
        await trial.emulated.press_power_button()
        seconds = await trial.wait_off(90)
    assert seconds <= 90


async def _heartbeats(service: BootService, count: int) -> None:
    """Until the machine was heard of `count` more times."""
    seen: set[float] = set()
    async with asyncio.timeout(300):
        while len(seen) <= count:
            latest = service.boots.latest("demo")
            seen |= {latest.seen_at} if latest else set()
            async with service.changed:
                await service.changed.wait()
