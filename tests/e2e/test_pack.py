"""Machines whose store is a pack above NFS."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from e2e.systems import spec, system
from storeboot.vm.demo.packages import Suite
from storeboot.vm.trial import run_trial, started

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(1200)]


@pytest.mark.parametrize("suite", ["trixie", "bookworm"])
async def test_the_second_boot_has_what_the_first_has_read(tmp_path: Path, suite: Suite) -> None:
    built = system("demo", suite=suite)
    trial_spec = replace(spec(built, tmp_path / "trial"), settings={"mode": "pack"})
    async with started(trial_spec, print) as trial:
        boot = await trial.reach("multi-user")
        await trial.until(lambda: bool(trial.service.state.hot(boot.view).files), 120, "hot list")
        await trial.power_off(boot)
        print(trial.service.inventory.systems.packs)
    second = await run_trial(trial_spec, print)
    assert "pack" in [step.stage for step in second.steps]
    print(second.report.boot.total, second.report.boot.rpcs, second.report.boot.bytes_read)
