"""Somebody at the machine can keep it from restarting."""

from __future__ import annotations

import asyncio
import time
from dataclasses import replace
from pathlib import Path

import pytest

from e2e.systems import QUICKLY, spec, system
from storeboot.hosts.rollouts import MemberStanding, Rollout
from storeboot.protocol.orders import Order
from storeboot.vm.trial import HOST, started, verify

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(1800)]
UNIT = """
[Unit]
Wants=systemd-logind.service
After=systemd-logind.service
Before=multi-user.target
[Service]
Type=exec
ExecStart=/run/current-system/sw/bin/systemd-inhibit --what=shutdown --why=exam --mode=block \\
    /run/current-system/sw/bin/sleep infinity
"""


@pytest.mark.machines
async def test_a_machine_that_is_inhibited_refuses_to_restart(tmp_path: Path) -> None:
    built = system("demo")
    trial_spec = replace(
        spec(built, tmp_path / "trial"),
        kernel_params=(*QUICKLY, "systemd.wants=exam.service"),
        credentials={"systemd.extra-unit.exam.service": UNIT},
    )
    async with started(trial_spec, print) as trial:
        boot = await trial.reach("multi-user")
        inventory = trial.service.inventory
        other = system(edition=2).toplevel
        rollout = Rollout(0, HOST, other.text, 1, 1, Order.RESTART, 900, time.time())
        hosts = [inventory.registry.require(HOST)]
        number = await asyncio.to_thread(inventory.rollouts.begin, rollout, hosts, print)

        def has_refused() -> bool:
            (member,) = inventory.rollouts.table.members(number)
            return member.standing is MemberStanding.WAITING and bool(member.reason)

        await trial.until(has_refused, 300, "refusal")
        (member,) = inventory.rollouts.table.members(number)
        assert "exam" in member.reason, member.reason
        assert inventory.deployments.current(HOST) == built.toplevel
        # A kernel that was loaded for nothing would be what its next reboot starts.
        inventory.orders.give(boot.id, Order.KEXEC)
        refusals = inventory.boots.events_of
        await trial.until(
            lambda: sum(event.stage == "refused" for event in refusals(boot.id)) == 2,
            300,
            "refusal",
        )
        report = await verify(trial_spec, trial, boot, print)
        assert report.facts["kexec_loaded"] == "0"
        # It goes on as before, and goes down when it is told to.
        assert [stage.stage for stage in trial.stages()][-1] == "multi-user"
        await trial.power_off(boot)
