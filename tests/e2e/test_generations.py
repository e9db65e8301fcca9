"""Systems that are given, changed, taken back and collected while a machine runs them."""

from __future__ import annotations

import asyncio
import re
import shutil
import time
from collections.abc import Awaitable, Callable
from dataclasses import replace
from pathlib import Path

import pytest

from e2e.systems import spec, system
from integration.stores import QUIET, add
from storeboot.deploy.collection import Freed, collect
from storeboot.deploy.inventory import Inventory
from storeboot.hosts.boots import Boot
from storeboot.nix.store import Store, StorePath
from storeboot.process import LONG, run
from storeboot.serve import server
from storeboot.vm.demo.build import DemoSystem
from storeboot.vm.trial import HOST, Trial, TrialSpec, started, verify

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(1800)]
TROUBLE = re.compile(r"I/O error|[Ss]tale file handle|ESTALE|Bus error")


def own_store(directory: Path, editions: list[DemoSystem]) -> Store:
    """A store of the test's own, in which everything may be collected."""
    store = Store(directory / "store")
    store.root.mkdir()
    run(["nix", "copy", "--no-check-sigs", "--to", store.root,
         *editions[0].store.arguments(), *(each.toplevel.text for each in editions)],
        environment={"NIX_REMOTE": ""}, seconds=LONG)  # fmt: skip
    return store


async def boot_once(
    trial_spec: TrialSpec, meanwhile: Callable[[Trial, Boot], Awaitable[None]]
) -> tuple[Inventory, str]:
    """Boot, have something done while the machine runs, verify its closure, power off.

    Returns the inventory and the system that the machine says it ran.
    """

    def deploy_first(running: server.Server) -> None:
        inventory = running.service.inventory
        if inventory.deployments.current(HOST) is None:
            host = inventory.registry.require(HOST)
            inventory.deployments.deploy(host, trial_spec.system, inventory.url, print)

    async with started(trial_spec, print, deploy_first) as trial:
        boot = await trial.reach("multi-user")
        await meanwhile(trial, boot)
        report = await verify(trial_spec, trial, boot, print)
        assert not report.mismatches
        await trial.power_off(boot)
        inventory = trial.service.inventory
    console = trial.machine.console.read_text(errors="replace")
    assert not TROUBLE.search(console), TROUBLE.search(console)
    return inventory, report.facts["system"]


async def nothing(_trial: Trial, _boot: Boot) -> None:
    pass


def collected(inventory: Inventory) -> Freed:
    """What is freed where one generation stays besides the next boot's."""
    done = collect(inventory, 1, time.time(), print)
    assert done.freed is not None
    return done.freed


async def collect_until(done: asyncio.Event, store: Store) -> None:
    """What an administrator's timer does, as fast as it can."""
    while not done.is_set():
        await asyncio.to_thread(
            run, ["nix-collect-garbage", "-d", *QUIET], environment={"NIX_REMOTE": str(store.root)}
        )


async def test_deploy_roll_back_and_collect_under_a_running_machine(tmp_path: Path) -> None:
    # Editions of its own: Nix keeps what it finds in the environment of any process, and that of a
    # user-mode machine's processes is the machine's memory.
    editions = [system(edition=number, uml=True) for number in (11, 12, 13)]
    one, two, three = (each.toplevel for each in editions)
    store = await asyncio.to_thread(own_store, tmp_path, editions)
    trial_spec = replace(spec(editions[0], tmp_path / "trial"), store=store, declared=False)
    collecting: list[asyncio.Task[None]] = []
    done = asyncio.Event()

    def exists(path: StorePath) -> bool:
        return store.physical(path).exists()

    async def deploy_and_collect(trial: Trial, _boot: Boot) -> None:
        inventory = trial.service.inventory
        host = inventory.registry.require(HOST)
        for toplevel in (two, three):
            await asyncio.to_thread(
                inventory.deployments.deploy, host, toplevel, inventory.url, print
            )
        await asyncio.to_thread(collected, inventory)
        numbers = [each.number for each in inventory.deployments.generations(HOST)]
        assert numbers == [2, 3]
        collecting.append(asyncio.create_task(collect_until(done, store)))

    try:
        inventory, ran = await boot_once(trial_spec, deploy_and_collect)
        assert not collecting[0].done(), collecting[0]
    finally:
        done.set()
        await asyncio.gather(*collecting)
    assert ran == one.text
    assert exists(one), "a machine ran it, and its lease was not collected"
    freed = await asyncio.to_thread(collected, inventory)
    assert one.text in freed.paths
    assert not exists(one)

    async def roll_back(trial: Trial, _boot: Boot) -> None:
        deployments = trial.service.inventory.deployments
        host = trial.service.registry.require(HOST)
        await asyncio.to_thread(deployments.switch, host, deployments.goal(host))

    _, ran = await boot_once(trial_spec, roll_back)
    assert ran == three.text
    _, ran = await boot_once(trial_spec, nothing)
    assert ran == two.text


def broken(directory: Path, store: Store, good: StorePath) -> StorePath:
    """The same system, but nothing can execute its init."""
    tree = directory / "broken" / "nixos-system-micro-broken"
    shutil.copytree(store.physical(good), tree, symlinks=True)
    tree.chmod(0o755)
    (tree / "init").unlink()
    (tree / "init").write_text("#!/nowhere/sh\n")
    (tree / "init").chmod(0o755)
    return add(store, tree)


async def test_a_broken_generation_is_taken_back_without_anyone_touching_the_machine(
    tmp_path: Path,
) -> None:
    good = system()
    store = await asyncio.to_thread(own_store, tmp_path, [good])
    bad = await asyncio.to_thread(broken, tmp_path, store, good.toplevel)
    trial_spec = replace(spec(good, tmp_path / "trial"), store=store, reboots=True, firmware=True)

    def prepare(running: server.Server) -> None:
        inventory = running.service.inventory
        host = inventory.registry.require(HOST)
        inventory.tests.begin(host, bad, inventory.url, print, seconds=900, confirms=True)

    async with started(trial_spec, print, prepare) as trial:
        boot = await trial.reach("multi-user")
        boots = trial.service.boots
        deployments = trial.service.inventory.deployments
        test = deployments.probations.of(HOST)[2]
        assert test.boot is not None
        tried = boots.get(test.boot)
        assert tried is not None
        assert tried.system == bad.text
        assert tried.began_at < boot.began_at
        assert boot.system == good.toplevel.text
        assert (test.standing, test.reason) == (
            "failed", "the machine booted again before it reached multi-user",
        )  # fmt: skip
        await verify(trial_spec, trial, boot, print)
        await trial.power_off(boot)
