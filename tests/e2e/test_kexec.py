"""A machine that runs goes on to its next generation without firmware."""

from __future__ import annotations

import asyncio
import time
from dataclasses import replace
from pathlib import Path

import pytest

from e2e.systems import spec, system
from storeboot.hosts.rollouts import MemberStanding, Rollout
from storeboot.protocol.orders import Order
from storeboot.vm.trial import HOST, started, verify

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(1800)]


@pytest.mark.machines
async def test_kexec_brings_a_running_machine_into_the_new_generation(tmp_path: Path) -> None:
    old, new = system("demo"), system(edition=2)
    assert old.store.root == new.store.root
    trial_spec = spec(old, tmp_path / "trial")
    async with started(trial_spec, print) as trial:
        first = await trial.reach("multi-user")
        inventory = trial.service.inventory
        now = time.time()
        rollout = Rollout(0, HOST, new.toplevel.text, 1, 1, Order.KEXEC, 900, now)
        hosts = [inventory.registry.require(HOST)]
        number = await asyncio.to_thread(inventory.rollouts.begin, rollout, hosts, print)
        trial.power_on = now
        second = await trial.reach("multi-user")
        assert second.system == new.toplevel.text
        stages = {event.stage: event for event in inventory.boots.events_since(HOST, now)}
        assert "script" not in stages, "it asked its firmware"
        up = stages["multi-user"]
        assert up.uptime is not None
        assert up.uptime < up.at - stages["shutdown"].at, "its kernel did not start anew"
        # The same identity, address and disks; only the kernel and all above it are new.
        ended = inventory.boots.get(first.id)
        assert ended is not None
        assert ended.ended_by == "shutdown"
        assert [boot.id for boot in inventory.leases(time.time())] == [second.id]
        await trial.until(
            lambda: inventory.rollouts.table.members(number)[0].standing is MemberStanding.DONE,
            300,
            "the end",
        )
        assert inventory.deployments.current(HOST) == new.toplevel
        goal = replace(trial_spec, least_files=new.least_files, has_nix=False)
        await verify(goal, trial, second, print)
        await trial.power_off(second)
