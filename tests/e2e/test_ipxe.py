"""Scripts that a real iPXE runs: the menu, with somebody at the keyboard, and the wait."""

from __future__ import annotations

import asyncio
import time
from pathlib import Path

import pytest

from e2e.systems import spec, system
from storeboot.serve import server
from storeboot.vm.trial import HOST, Trial, started

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(1800)]


async def press_until(trial: Trial, key: str, words: str) -> None:
    """A key again and again, as people do, until the console says something."""
    async with asyncio.timeout(300):
        while words not in trial.machine.console_tail(100):
            await trial.emulated.press(key)
            await asyncio.sleep(0.2)


@pytest.mark.machines
async def test_a_key_at_the_prompt_and_an_older_generation_of_the_menu(tmp_path: Path) -> None:
    one, two = system(), system(edition=2)
    trial_spec = spec(one, tmp_path / "trial", firmware=True)

    def deploy_another(running: server.Server) -> None:
        inventory = running.service.inventory
        host = inventory.registry.require(HOST)
        inventory.deployments.deploy(host, two.toplevel, inventory.url, print)

    async with started(trial_spec, print, deploy_another) as trial:
        await press_until(trial, "m", "Leave to the firmware")
        await trial.emulated.press("down", "ret")
        boot = await trial.reach("multi-user")
        assert boot.system == one.toplevel.text
        assert trial.service.inventory.deployments.current(HOST) == two.toplevel
        await trial.power_off(boot)


@pytest.mark.machines
async def test_a_machine_waits_for_its_turn_and_gets_it(tmp_path: Path) -> None:
    trial_spec = spec(system(), tmp_path / "trial", firmware=True)

    def power_on_a_room(running: server.Server) -> None:
        places = running.service.turns.hosts
        later = time.time() + 3600  # they do not stall
        assert all(places.admit(f"other{number}", later) for number in range(places.limit()))

    async with started(trial_spec, print, power_on_a_room) as trial:
        await trial.machine.says("32 machines are starting", 300)
        assert trial.boot() is None
        trial.service.turns.leaves("other7")
        boot = await trial.reach("multi-user")
        await trial.power_off(boot)
