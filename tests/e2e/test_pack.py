"""Machines whose store is a pack above NFS."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from e2e.systems import spec, system
from storeboot.config import NfsVersion
from storeboot.vm.demo.packages import Suite
from storeboot.vm.trial import run_trial

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(1200)]


@pytest.mark.parametrize("suite", ["trixie", "bookworm"])
async def test_every_file_of_a_pack_is_the_servers(tmp_path: Path, suite: Suite) -> None:
    built = system("micro", suite=suite)
    trial_spec = replace(spec(built, tmp_path / "trial"), settings={"mode": "pack"})
    outcome = await run_trial(trial_spec, print)
    assert "pack" in [step.stage for step in outcome.steps]
    print(outcome.report.boot.total, outcome.report.boot.rpcs)
