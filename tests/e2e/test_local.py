"""What a diskless machine may use of its own: a labelled disk, compressed memory."""

from __future__ import annotations

import asyncio
import re
from dataclasses import replace
from pathlib import Path

import pytest

from e2e.systems import spec, system
from storeboot.process import run
from storeboot.vm.trial import Outcome, TrialSpec, run_trial, started

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(1800)]
DEBUGFS = "/sbin/debugfs"
OLD = "0123456789abcdef"  # a boot of before


def make_disk(directory: Path) -> Path:
    """An ext4 file system labelled `state` that has a file of before."""
    content = directory / "content"
    (content / "var" / "lib" / "lab").mkdir(parents=True)
    (content / "var" / "lib" / "lab" / "mark").write_text("of before\n")
    (content / "storeboot-overlay" / OLD).mkdir(parents=True)
    disk = directory / "disk.img"
    run(["truncate", "--size", "256M", disk])
    # Nothing is kept free for root.
    run(["/sbin/mkfs.ext4", "-q", "-m", "0", "-L", "state", "-d", content, disk])
    return disk


def fill(disk: Path) -> None:
    """With what the overlay of an earlier boot may have, to the last block."""
    free, size = figure(disk, "Free blocks"), figure(disk, "Block size")
    data = disk.with_name("fill")
    data.write_bytes(b"\1" * (free * size))
    run([DEBUGFS, "-w", "-R", f"write {data} /storeboot-overlay/{OLD}/fill", disk])
    assert figure(disk, "Free blocks") == 0


def figure(disk: Path, name: str) -> int:
    """Of the file system's superblock."""
    match = re.search(rf"^{name}: *([0-9]+)$", run(["/sbin/dumpe2fs", "-h", disk]), re.MULTILINE)
    assert match is not None
    return int(match[1])


def listed(disk: Path, place: str) -> list[str]:
    lines = run([DEBUGFS, "-R", f"ls -p {place}", disk]).splitlines()
    names = (line.split("/")[5] for line in lines if line.count("/") > 5)
    return sorted(name for name in names if name not in (".", ".."))


async def boot(trial_spec: TrialSpec) -> Outcome:
    outcome = await run_trial(trial_spec, print)
    assert trial_spec.disk is not None
    run(["/sbin/e2fsck", "-p", trial_spec.disk])  # what its journal still has
    return outcome


async def test_a_labelled_disk_keeps_directories_and_takes_what_is_written(tmp_path: Path) -> None:
    disk = await asyncio.to_thread(make_disk, tmp_path)
    settings = {
        "persist_label": "state", "persist_directories": ["/var/lib", "/home"],
        "overlay_label": "state", "zram": "25%",
    }  # fmt: skip
    trial_spec = replace(spec(system(), tmp_path / "trial", disk=disk), settings=settings)
    first = await boot(trial_spec)
    facts = first.report.facts
    assert set(facts["persistent"].split()) >= {"/var/lib", "/home"}
    assert facts["overlay_upper_fstype"] == "ext4"
    assert facts["swap"].strip() == "/dev/zram0"
    assert listed(disk, "/var/lib/lab") == ["mark"]
    assert "home" in listed(disk, "/")
    assert listed(disk, "/storeboot-overlay") == [first.boot.id]
    written = f"storeboot-write-test-{first.boot.id}"
    assert written in listed(disk, f"/storeboot-overlay/{first.boot.id}/store")
    second = await boot(trial_spec)
    assert listed(disk, "/storeboot-overlay") == [second.boot.id]
    assert listed(disk, "/var/lib/lab") == ["mark"]


@pytest.mark.machines
async def test_a_disk_that_old_overlays_have_filled_is_emptied(tmp_path: Path) -> None:
    disk = await asyncio.to_thread(make_disk, tmp_path)
    await asyncio.to_thread(fill, disk)
    trial_spec = replace(
        spec(system(), tmp_path / "trial", disk=disk), settings={"overlay_label": "state"}
    )
    outcome = await boot(trial_spec)
    assert listed(disk, "/storeboot-overlay") == [outcome.boot.id]


@pytest.mark.machines
async def test_a_disk_that_is_not_there_is_said(tmp_path: Path) -> None:
    settings = {"persist_label": "state", "persist_directories": ["/var/lib"]}
    trial_spec = replace(spec(system(), tmp_path / "trial"), settings=settings)
    async with started(trial_spec, print) as trial:
        await trial.reach("failed")
        events = trial.service.boots.events_since(trial.host, trial.power_on)
        said = next(event.detail for event in events if event.stage == "failed")
        assert "no local file system has the label 'state' after 30 s" in said
