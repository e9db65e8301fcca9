"""Generations with which a machine runs but does not come up: what it says, and that it goes back.

Real systemd in user-mode Linux. Units that fail are given to it as credentials (systemd.system-
credentials(7)), so that one system will do.
"""

from __future__ import annotations

import asyncio
import time
from dataclasses import dataclass, replace
from pathlib import Path

import pytest

from e2e.systems import spec, system
from storeboot.boot.state import Condition, MachineState
from storeboot.deploy import overview
from storeboot.hosts.probations import Probation, Standing
from storeboot.serve import server
from storeboot.vm.trial import HOST, Trial, started

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(1800)]
REQUIRED = "[Unit]\nRequires={0}\nAfter={0}\n"
MOUNT = "[Mount]\nWhat={}\nWhere={}\nType={}\nOptions={}\n"
SECONDS = 900.0  # until multi-user
FAILING = "[Service]\nType=oneshot\nExecStart=/run/storeboot/bin/false\n"
HANGING = "[Service]\nType=oneshot\nExecStart=/run/storeboot/bin/sleep infinity\n"
DISK = MOUNT.format("/dev/disk/by-label/p", "/mnt/p", "ext4", "defaults")
OVERLAY = MOUNT.format("overlay", "/mnt/m", "overlay", "lowerdir=/mnt/p/a:/mnt/p/b")
LOOP = MOUNT.format("/mnt/p/i.ext4", "/mnt/i", "ext4", "loop")


def units(target: str, **texts: str) -> dict[str, str]:
    """Return credentials for units, by names with `_` for the dot, that a target requires."""
    names = {name.replace("_", "."): text for name, text in texts.items()}
    return {
        **{f"systemd.extra-unit.{name}": text for name, text in names.items()},
        f"systemd.unit-dropin.{target}": REQUIRED.format(" ".join(names)),
    }


@dataclass(frozen=True)
class Bad:
    """What a generation has, and the reason for which its test fails."""

    credentials: dict[str, str]
    reason: str
    hangs: bool = False  # so that only the deadline ends it


BAD = {
    "disk": Bad(
        units("local-fs.target", **{"mnt-p_mount": DISK}),
        "emergency mode: mnt-p.mount (dependency), dev-disk-by\\x2dlabel-p.device (missing)",
    ),
    "overlay": Bad(
        units("local-fs.target", **{"mnt-m_mount": OVERLAY}),
        "emergency mode: mnt-m.mount (exit-code)",
    ),
    "loop": Bad(
        units("local-fs.target", **{"mnt-i_mount": LOOP}),
        "emergency mode: mnt-i.mount (exit-code)",
    ),
    "unit": Bad(
        units("multi-user.target", exam_service=FAILING),
        "multi-user.target was not reached: exam.service (exit-code)",
    ),
    "hang": Bad(
        units("multi-user.target", exam_service=HANGING),
        "no multi-user within 900 s; the machine waits for exam.service",
        hangs=True,
    ),
}


# One machine for the rest of what `make test-machines` tries.
IN_MAKE_TEST = "overlay"
NAMES = [
    name if name == IN_MAKE_TEST else pytest.param(name, marks=pytest.mark.machines) for name in BAD
]


@pytest.mark.parametrize("name", NAMES)
async def test_a_generation_that_does_not_come_up_is_taken_back(name: str, tmp_path: Path) -> None:
    bad = BAD[name]
    good = await asyncio.to_thread(system, uml=True)
    tried = await asyncio.to_thread(system, "demo", uml=True)
    trial_spec = replace(
        spec(tried, tmp_path, kernel_params=("systemd.default_device_timeout_sec=3",)),
        declared=False,
        credentials=bad.credentials,
    )

    def prepare(running: server.Server) -> None:
        inventory = running.service.inventory
        host = inventory.registry.require(HOST)
        inventory.deployments.deploy(host, good.toplevel, inventory.url, print)
        inventory.tests.begin(
            host, tried.toplevel, inventory.url, print, seconds=SECONDS, confirms=True
        )

    async with started(trial_spec, print, prepare) as trial:
        if bad.hangs:
            await trial.reach("waiting")
            trial.service.clock = lambda: time.time() + SECONDS
        await trial.until(lambda: probation_of(trial).standing is Standing.FAILED, 600, "verdict")
        test = probation_of(trial)
        assert test.reason == bad.reason
        assert "multi-user" not in {step.stage for step in trial.stages()}
        # It has been told to, and goes down, whatever mode it is in.
        await trial.wait_off(300)
        deployments = trial.service.inventory.deployments
        assert deployments.current(HOST) == good.toplevel
        assert test.next == test.previous


def probation_of(trial: Trial) -> Probation:
    return trial.service.inventory.deployments.probations.of(HOST)[2]


@pytest.mark.machines
async def test_a_machine_with_failed_units_is_up_and_names_them(tmp_path: Path) -> None:
    built = await asyncio.to_thread(system, "demo", uml=True)
    trial_spec = replace(
        spec(built, tmp_path, kernel_params=("systemd.wants=exam.service",)),
        credentials={"systemd.extra-unit.exam.service": FAILING},
    )
    async with started(trial_spec, print) as trial:
        boot = await trial.reach("degraded")
        shown = status_of(trial)
        assert (shown.condition, shown.units) == (Condition.DEGRADED, ("exam.service",))
        assert shown.reason == "exam.service (exit-code)"
        assert "multi-user" in {step.stage for step in trial.stages()}
        await trial.power_off(boot)


def status_of(trial: Trial) -> MachineState:
    return overview.machine(trial.service.inventory, HOST, trial.service.boots.latest(HOST))
