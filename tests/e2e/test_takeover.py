"""kill -9 of the NFS server under a machine, another server in its place: nobody notices."""

from __future__ import annotations

import asyncio
import random
import re
import shutil
import sys
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from e2e.systems import spec, system
from storeboot.config import NfsVersion
from storeboot.process import Child
from storeboot.serve.server import Server
from storeboot.vm import trial as trials
from storeboot.vm.demo.build import DemoSystem, Kind
from storeboot.vm.qemu import HOST_ADDRESS
from storeboot.vm.trial import Trial, started, verify

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(1800)]
STALL = 30.0  # seconds: Linux tries to connect again after 3, then 6, then 12
TROUBLE = re.compile(r"I/O error|[Ss]tale file handle|BUG:|Call Trace|Oops|ESTALE|Bus error")


@dataclass
class Succession:
    """Servers on one port, one behind the other, from one place or the next by turns."""

    places: list[tuple[Path, Path]]  # store root and state directory
    port: int
    directory: Path
    deaths: list[int]  # the number of its last call for each server, then one that lives
    lived: int = 0
    stalls: list[float] = field(default_factory=list)

    async def run(self) -> None:
        died = 0.0
        for calls in [*self.deaths, 0]:
            store, state = self.places[self.lived % len(self.places)]
            words = self.directory / f"nfs-{self.lived}.log"
            argv: list[str | Path] = [sys.executable, "-m", "e2e.mortal_nfs", store, state,
                                      HOST_ADDRESS, str(self.port), str(calls)]  # fmt: skip
            child = await Child.start(argv, output=words, cwd=Path(__file__).parents[1])
            self.lived += 1
            try:
                await child.wait()
            finally:
                await child.stop(0)
                heard = re.search(r"heard ([0-9.]+)", words.read_text())
                if died and heard:
                    self.stalls.append(float(heard[1]) - died)
            died = time.monotonic()


def second_place(built: DemoSystem, first: Server, directory: Path) -> tuple[Path, Path]:
    """A copy of the closure on other inodes, and a state with the same key and views."""
    (assignment,) = first.service.inventory.systems.ready.values()
    state = first.service.state.path
    copy, other = directory / "store", directory / "state"
    (copy / "nix" / "store").mkdir(parents=True)
    for text in assignment.view.paths:
        source = built.store.root / text.removeprefix("/")
        target = copy / text.removeprefix("/")
        if source.is_dir() and not source.is_symlink():
            shutil.copytree(source, target, symlinks=True)
        else:
            shutil.copy2(source, target, follow_symlinks=False)
    other.mkdir()
    shutil.copy(state / "server.key", other)
    shutil.copytree(state / "views", other / "views")
    return copy, other


@asynccontextmanager
async def succession(
    built: DemoSystem, directory: Path, nfs: NfsVersion, deaths: list[int], *, places: int = 1
) -> AsyncIterator[tuple[Trial, Succession]]:
    """A trial whose NFS port belongs to mortal servers."""
    trial_spec = spec(built, directory, nfs, sample=1)
    servers: list[Server] = []
    async with started(trial_spec, print, servers.append) as trial:
        (first,) = servers
        await first.nfs.stop()
        own = [(built.store.root, first.service.state.path)]
        if places > 1:
            own.append(await asyncio.to_thread(second_place, built, first, directory / "second"))
        port = first.service.config.nfs.port
        servers_of_nfs = Succession(own, port, directory, deaths)
        running = asyncio.create_task(servers_of_nfs.run())
        try:
            yield trial, servers_of_nfs
        finally:
            running.cancel()
            await asyncio.gather(running, return_exceptions=True)


async def check(
    nfs: NfsVersion, directory: Path, points: list[int], *, kind: Kind, places: int, uml: bool
) -> list[float]:
    """Boot, read everything, and have a death after so many calls each; the stalls, in seconds."""
    built = system(kind, uml=uml)
    async with succession(built, directory, nfs, points, places=places) as (trial, servers):
        boot = await trial.reach("multi-user")
        report = await verify(spec(built, directory, nfs, sample=1), trial, boot, print)
        assert not report.mismatches
        assert servers.lived == len(points) + 1, "not every server had its death"
        await trial.power_off(boot)
    console = trial.machine.console.read_text(errors="replace")
    assert not TROUBLE.search(console), TROUBLE.search(console)
    assert servers.stalls
    assert max(servers.stalls) < STALL
    return servers.stalls


@pytest.mark.parametrize("nfs", ["3", "4.2"])
async def test_servers_that_die_and_two_that_take_turns(
    nfs: NfsVersion, tmp_path: Path, record_property: Callable[[str, object], None]
) -> None:
    # The first ones die while the store is being mounted, when no request is repeated by itself.
    points = [1, 2, 3, 9, 300, 500]
    stalls = await check(nfs, tmp_path, points, kind="micro", places=2, uml=True)
    record_property("stalls", stalls)


@pytest.mark.long
@pytest.mark.timeout(7200)
@pytest.mark.parametrize("places", [1, 2])
@pytest.mark.parametrize("nfs", ["3", "4.2"])
@pytest.mark.parametrize("seed", range(4))
async def test_the_series_of_deaths(
    nfs: NfsVersion,
    places: int,
    seed: int,
    tmp_path: Path,
    record_property: Callable[[str, object], None],
) -> None:
    """Over four boots: twenty deaths while booting, twenty while everything is read."""
    dice = random.Random(seed)
    points = [dice.randint(1, 300) for _ in range(5)] + [dice.randint(50, 600) for _ in range(5)]
    stalls = await check(nfs, tmp_path, points, kind="demo", places=places, uml=False)
    record_property("stalls", stalls)


@pytest.mark.long
@pytest.mark.timeout(3600)
@pytest.mark.parametrize("nfs", ["3", "4.2"])
async def test_ten_minutes_without_a_server(
    nfs: NfsVersion, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The machine waits, however long, and goes on."""
    monkeypatch.setattr(trials, "REPORT_SECONDS", 1500.0)
    built = system("micro")
    trial_spec = spec(built, tmp_path, nfs, sample=1)
    async with started(trial_spec, print) as trial:
        boot = await trial.reach("multi-user")
        config = trial.service.config.nfs
        await trial.server.nfs.stop()
        verifying = asyncio.create_task(verify(trial_spec, trial, boot, print))
        await asyncio.sleep(600)
        await trial.server.nfs.start(config.listen, config.port)
        report = await verifying
        assert not report.mismatches
        await trial.power_off(boot)
