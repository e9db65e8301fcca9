"""Two machines of one closure are two machines."""

from __future__ import annotations

import asyncio
import time
from dataclasses import replace
from hashlib import sha256
from pathlib import Path

import pytest

from e2e.systems import spec, system
from storeboot.hosts.registry import read_section
from storeboot.serve import server
from storeboot.vm.trial import HOST, Trial, TrialSpec, started, switched_on, verify

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(1800)]
OTHER = "other"
OTHER_MAC = "52:54:00:12:34:57"


async def test_two_machines_of_one_closure_differ_and_are_the_same_after_a_reboot(
    tmp_path: Path,
) -> None:
    trial_spec = spec(system(uml=True), tmp_path / "trial", "4.2")

    def add_another(running: server.Server) -> None:
        inventory = running.service.inventory
        section = read_section(OTHER, {"mac": [OTHER_MAC], "mode": "plain"})
        inventory.registry.add_all({OTHER: section}, time.time())
        inventory.deployments.deploy(
            inventory.registry.require(OTHER), trial_spec.system, inventory.url, print
        )

    async with started(trial_spec, print, add_another) as first:
        here = tmp_path / OTHER
        here.mkdir()
        one, *others = await asyncio.gather(
            run_one(trial_spec, first), *[run_other(trial_spec, first.server, here)]
        )
        # The first one still runs; the other one boots again.
        others.append(await run_other(trial_spec, first.server, here))
        directory = first.service.state.path / "ssh"
        keys = {host: (directory / f"{host}.ed25519").read_bytes() for host in (HOST, OTHER)}
        assert one["hostname"] == HOST
        assert others[0]["hostname"] == OTHER
        assert one["ssh_host_key"] == sha256(keys[HOST]).hexdigest()
        assert others[0]["ssh_host_key"] == sha256(keys[OTHER]).hexdigest()
        for fact in ("hostname", "machine_id", "client_id", "ssh_host_key", "lower_source"):
            assert one[fact] != others[0][fact], fact
        for fact in ("hostname", "machine_id", "client_id", "ssh_host_key"):
            assert others[0][fact] == others[1][fact], fact
        leases = first.service.boots.leases(time.time(), first.service.inventory.lease)
        assert [boot.host for boot in leases] == [HOST]
        boot = first.boot()
        assert boot is not None
        await first.power_off(boot)
        assert not first.service.boots.leases(time.time(), first.service.inventory.lease)


async def run_one(trial_spec: TrialSpec, trial: Trial) -> dict[str, str]:
    """The facts that the machine tells once it is up and its closure is verified."""
    boot = await trial.reach("multi-user")
    report = await verify(trial_spec, trial, boot, print)
    return dict(report.facts)


async def run_other(
    trial_spec: TrialSpec, running: server.Server, directory: Path
) -> dict[str, str]:
    """The same of the other machine, from power on to power off."""
    power_on = time.time()
    own = replace(trial_spec, directory=directory)
    async with switched_on(own, running, mac=OTHER_MAC) as machine:
        trial = Trial(running, machine, power_on, OTHER)
        facts = await run_one(own, trial)
        boot = trial.boot()
        assert boot is not None
        leases = running.service.boots.leases(time.time(), running.service.inventory.lease)
        assert {each.host for each in leases} == {HOST, OTHER}
        await trial.power_off(boot)
    return facts
