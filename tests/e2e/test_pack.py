"""Machines whose store is a pack above NFS."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from e2e.systems import spec, system
from storeboot.initrd import modules
from storeboot.serve import server
from storeboot.vm.demo.packages import Suite
from storeboot.vm.trial import Trial, TrialSpec, run_trial, started, verify

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(1200)]


@pytest.mark.parametrize("suite", ["trixie", "bookworm"])
async def test_the_second_boot_has_what_the_first_has_read(tmp_path: Path, suite: Suite) -> None:
    built = system("demo", suite=suite)
    trial_spec = replace(spec(built, tmp_path / "trial"), settings={"mode": "pack"})
    async with started(trial_spec, print) as trial:
        boot = await trial.reach("multi-user")
        await trial.until(lambda: trial.service.state.hot(boot.view) is not None, 120, "hot list")
        await trial.power_off(boot)
    second = await run_trial(trial_spec, print)
    assert "pack" in [step.stage for step in second.steps]
    stats = second.report.boot
    assert stats.total <= (30 if suite == "trixie" else 150)
    assert stats.bytes_read <= 100_000


def damage(pack: Path) -> None:
    data = bytearray(pack.read_bytes())
    data[len(data) // 2] ^= 1
    pack.write_bytes(data)


@pytest.mark.parametrize(
    ("harm", "said"),
    [(damage, "what was fetched is damaged"), (Path.unlink, "404 Not Found")],
)
async def test_a_boot_goes_on_without_a_pack_that_is_no_good(
    tmp_path: Path, harm: Callable[[Path], None], said: str
) -> None:
    trial_spec = replace(spec(system(), tmp_path / "trial"), settings={"mode": "pack"})

    def harm_it(running: server.Server) -> None:
        (pack,) = running.service.inventory.systems.packs.ready.values()
        harm(pack.path)

    async with started(trial_spec, print, harm_it) as trial:
        await goes_on_plainly(trial_spec, trial, said)


async def test_a_kernel_without_squashfs_boots_plainly(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    without = tuple(name for name in modules.OPTIONAL if name != "squashfs")
    monkeypatch.setattr(modules, "OPTIONAL", without)
    trial_spec = replace(spec(system(), tmp_path / "trial"), settings={"mode": "pack"})
    async with started(trial_spec, print) as trial:
        await goes_on_plainly(trial_spec, trial, "it cannot be mounted")


async def goes_on_plainly(trial_spec: TrialSpec, trial: Trial, said: str) -> None:
    boot = await trial.reach("multi-user")
    notes = {event.stage: event.detail for event in trial.service.boots.events_of(boot.id)}
    assert said in notes["plain"]
    assert "pack" not in notes
    await verify(trial_spec, trial, boot, print)
    await trial.power_off(boot)
