"""Real systemd in user-mode Linux: both kernels, every file over NFS."""

from __future__ import annotations

from pathlib import Path

import pytest

from e2e.systems import spec, system
from storeboot.config import NfsVersion
from storeboot.vm.demo.build import Flavour, NetworkManager
from storeboot.vm.demo.packages import Suite
from storeboot.vm.trial import run_trial

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(1800)]


@pytest.mark.parametrize(
    ("suite", "flavour", "network", "nfs"),
    [
        ("trixie", "systemd", "networkd", "4.2"),
        pytest.param("bookworm", "scripted", "dhcpcd", "3", marks=pytest.mark.machines),
    ],
)
async def test_every_file_of_a_system(
    suite: Suite, flavour: Flavour, network: NetworkManager, nfs: NfsVersion, tmp_path: Path
) -> None:
    built = system("demo", suite=suite, flavour=flavour, network=network, uml=True)
    outcome = await run_trial(spec(built, tmp_path, nfs, sample=1), print)
    facts = outcome.report.facts
    assert outcome.report.boot.version == nfs
    assert facts["lower_fstype"] == ("nfs" if nfs == "3" else "nfs4")  # as the kernel calls it
    assert facts["kernel"].startswith({"trixie": "6.12.", "bookworm": "6.1."}[suite])
    assert facts["failed_units"].split() == []
    names = [step.stage for step in outcome.steps]
    assert names[-2:] == ["multi-user", "shutdown"]
    assert "await-pack" not in names
