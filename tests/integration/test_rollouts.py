"""Rollouts: a system for many machines, so many at a time, until one too many has failed."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from pathlib import Path

import aiohttp
import pytest

from integration.deploying import (
    STOREBOOT,
    WAIT,
    Machine,
    collect_garbage,
    exists,
    make_system,
    storeboot,
)
from integration.test_cli import fails
from storeboot import config as configuration
from storeboot.config import Config
from storeboot.nix.store import StorePath
from storeboot.process import Child
from storeboot.serve import server

HOSTS = ("room1", "room2", "room3")


@pytest.fixture(autouse=True)
def only_when_told(monkeypatch: pytest.MonkeyPatch) -> None:
    """The server looks at tests and rollouts when a test says so, not every few seconds as well."""
    monkeypatch.setattr("storeboot.serve.chores.TEST_SECONDS", 3600.0)


@pytest.fixture
def room(path: Path) -> Path:
    """A configuration with a group."""
    path.write_text(path.read_text() + "[groups.room]\n")
    return path


@dataclass(frozen=True, slots=True)
class Room:
    """Three machines of a group, with one system and another to come."""

    path: Path
    machines: list[Machine]
    one: StorePath
    two: StorePath
    running: server.Server

    async def storeboot(self, *words: object) -> str:
        return await asyncio.to_thread(storeboot, self.path, *words)

    async def roll_out(self, *options: object) -> None:
        await self.storeboot("deploy", "room", self.two, "--no-wait", *options)

    async def parts(self) -> dict[str, tuple[str, str]]:
        """What became of each host, and why."""
        shown = json.loads(await self.storeboot("rollout", "show", 1, "--json"))
        return {each["host"]: (each["standing"], each["reason"]) for each in shown["hosts"]}

    async def standing(self) -> tuple[str, str]:
        (listed,) = json.loads(await self.storeboot("rollout", "list", "--json"))
        return listed["standing"], listed["reason"]

    async def go_on(self, seconds: float = 0) -> None:
        self.running.service.clock = lambda: time.time() + seconds
        await self.running.service.settle_tests()
        await self.running.service.advance_rollouts()

    async def offered(self) -> list[bool]:
        """Which machines' scripts boot the new system."""
        scripts = [await machine.script() for machine in self.machines]
        return [f"init={self.two}/init" in script for script in scripts]

    async def come_up(self, machine: Machine, system: StorePath) -> dict[str, str]:
        boot = await machine.begin(system)
        await machine.reach(boot, "multi-user")
        return boot


@asynccontextmanager
async def opened(path: Path, directory: Path) -> AsyncIterator[Room]:
    config = configuration.load(path)
    one, two = (make_system(config, directory, number) for number in (1, 2))
    table = directory / "room.csv"
    macs = {name: f"52:54:00:00:01:0{number}" for number, name in enumerate(HOSTS)}
    rows = "".join(f"{name},{mac},room\n" for name, mac in macs.items())
    table.write_text(f"name,mac,group\n{rows}")
    await asyncio.to_thread(storeboot, path, "host", "add", "--csv", table, "--system", one)
    async with (
        server.running(config) as running,
        aiohttp.ClientSession(running.service.url) as http,
    ):
        machines = [Machine(http, name, mac) for name, mac in macs.items()]
        yield Room(path, machines, one, two, running)


async def test_machines_get_it_as_they_boot_so_many_at_a_time(room: Path, tmp_path: Path) -> None:
    async with opened(room, tmp_path) as lab:
        await lab.roll_out("--batch", 2)
        assert await lab.offered() == [True, True, False]
        first, second, third = lab.machines
        boot = await first.begin(lab.two)
        await lab.go_on()
        assert await lab.offered() == [False, True, False]  # the first one is on its test
        await first.reach(boot, "multi-user")
        await lab.go_on()
        assert (await lab.parts())["room1"] == ("done", "")
        assert await lab.offered() == [True, True, True]
        for machine in (second, third):
            await lab.come_up(machine, lab.two)
        await lab.go_on()
        assert await lab.standing() == ("done", "")


async def test_a_failure_stops_it(room: Path, tmp_path: Path) -> None:
    async with opened(room, tmp_path) as lab:
        await lab.roll_out("--batch", 2, "--max-failures", 1)
        assert await lab.offered() == [True, True, False]
        boot = await lab.machines[0].begin(lab.two)
        await lab.machines[0].reach(boot, "failed", "mount: it is broken")
        await lab.go_on()
        assert await lab.standing() == ("stopped", "room1: mount: it is broken")
        assert await lab.offered() == [False, False, False]
        parts = await lab.parts()
        assert parts["room2"] == parts["room3"] == ("left", "the rollout was stopped")
        said = await fails(tmp_path, "rollout", "follow", 1, "--config", room)
        assert "rollout 1 was stopped: room1: mount: it is broken" in said
        assert "room1: failed mount: it is broken" in said
        said = await fails(tmp_path, "rollout", "stop", 1, "--config", room)
        assert "nothing to stop" in said


async def test_a_machine_in_emergency_mode_stops_it(room: Path, tmp_path: Path) -> None:
    async with opened(room, tmp_path) as lab:
        await lab.roll_out("--max-failures", 1)
        first, second, _ = lab.machines
        await first.script()
        boot = await first.begin(lab.two)
        await first.reach(boot, "failed", "emergency mode: data.mount (dependency)")
        assert await first.heartbeat(boot) == "reboot"
        await lab.go_on()
        why = "emergency mode: data.mount (dependency)"
        assert await lab.standing() == ("stopped", f"room1: {why}")
        assert (await lab.parts())["room1"] == ("failed", why)
        assert f"init={lab.two}/init" not in await second.script()


async def test_running_machines_are_asked_and_may_refuse(room: Path, tmp_path: Path) -> None:
    async with opened(room, tmp_path) as lab:
        first, second, third = lab.machines
        boots = [await lab.come_up(machine, lab.one) for machine in (first, second)]
        await lab.roll_out("--batch", 1, "--reboot")
        await lab.go_on()
        assert [await first.heartbeat(boots[0]), await second.heartbeat(boots[1])] == [
            "restart",
            "",
        ]
        assert await first.heartbeat(boots[0]) == "", "it was asked twice"
        await first.reach(boots[0], "refused", "systemctl reboot: inhibited by burn-cd")
        await lab.go_on()
        assert (await lab.parts())["room1"] == ("waiting", "systemctl reboot: inhibited by burn-cd")
        assert await second.heartbeat(boots[1]) == "restart"
        await second.reach(boots[1], "shutdown")
        await lab.come_up(second, lab.two)
        await lab.go_on()
        assert await first.heartbeat(boots[0]) == "", "it has refused in this boot"
        assert await self_chosen(lab, first) == lab.one, "it runs: somebody else has asked"
        await first.reach(boots[0], "shutdown")
        await lab.come_up(first, await self_chosen(lab, first))
        await lab.go_on()
        assert [part for part, _ in (await lab.parts()).values()] == ["done", "done", "waiting"]
        await lab.come_up(third, await self_chosen(lab, third))
        await lab.go_on()
        assert await lab.standing() == ("done", "")


async def self_chosen(lab: Room, machine: Machine) -> StorePath:
    """What the machine's own script boots."""
    return lab.two if f"init={lab.two}/init" in await machine.script() else lab.one


async def test_one_that_goes_down_and_stays_away_has_failed(room: Path, tmp_path: Path) -> None:
    async with opened(room, tmp_path) as lab:
        boot = await lab.come_up(lab.machines[0], lab.one)
        await lab.roll_out("--reboot", "--timeout", 300)
        await lab.go_on()
        assert await lab.machines[0].heartbeat(boot) == "restart"
        await lab.machines[0].reach(boot, "shutdown")
        await lab.go_on(200)
        assert (await lab.parts())["room1"][0] == "trying"
        await lab.go_on(301)
        assert (await lab.standing())[0] == "stopped"
        said = "was asked to restart, and did not begin to boot within 300 s"
        assert (await lab.parts())["room1"] == ("failed", said)
        assert await lab.offered() == [False, False, False]


async def test_one_that_asks_and_does_not_boot_keeps_nobody_waiting(
    room: Path, tmp_path: Path
) -> None:
    async with opened(room, tmp_path) as lab:
        await lab.roll_out("--batch", 1)
        assert await lab.offered() == [True, False, False]
        await lab.go_on(301)
        assert (await lab.parts())["room1"] == ("waiting", "did not boot")
        assert f"init={lab.two}/init" in await lab.machines[1].script()


async def test_a_held_host_is_left_alone(room: Path, tmp_path: Path) -> None:
    async with opened(room, tmp_path) as lab:
        await lab.storeboot("hold", "room1", "--reason", "exam until noon")
        boot = await lab.come_up(lab.machines[0], lab.one)
        await lab.roll_out("--reboot")
        await lab.go_on()
        assert await lab.machines[0].heartbeat(boot) == ""
        assert await lab.offered() == [False, True, True]
        assert "held: exam until noon" in await lab.storeboot("rollout", "show", 1)
        for words in (
            ("deploy", "room1", lab.two),
            ("rollback", "room1"),
            ("confirm", "room1"),
        ):
            said = await fails(tmp_path, *words, "--config", room)
            assert "host 'room1' is held: exam until noon" in said or "no generation" in said
        status = json.loads(await lab.storeboot("status", "--json"))
        assert status["room1"]["held"] == "exam until noon"
        # Held while it is given the system, and asked: both are taken back.
        await lab.storeboot("release", "room1")
        await lab.go_on()
        await lab.storeboot("hold", "room1", "--reason", "again")
        await lab.go_on()
        assert await lab.machines[0].heartbeat(boot) == ""
        assert (await lab.parts())["room1"] == ("waiting", "held: again")
        await lab.storeboot("release", "room")
        assert (await lab.parts())["room1"] == ("waiting", "")
        await lab.go_on()
        assert await lab.machines[0].heartbeat(boot) == "restart"


async def test_another_deployment_comes_between(room: Path, tmp_path: Path, config: Config) -> None:
    async with opened(room, tmp_path) as lab:
        three = make_system(config, tmp_path, 3)
        await lab.roll_out("--batch", 1)
        assert await lab.offered() == [True, False, False]
        for host in ("room1", "room2"):
            await lab.storeboot("deploy", host, three)
        await lab.go_on()
        parts = await lab.parts()
        for host in ("room1", "room2"):
            assert parts[host] == ("left", "something else was deployed")
        assert await lab.offered() == [False, False, True]


async def test_a_server_killed_while_it_gives_goes_on_where_it_was(
    room: Path, tmp_path: Path
) -> None:
    async with opened(room, tmp_path) as lab:
        pass
    await lab.roll_out("--batch", 1, WAIT)
    output = tmp_path / "output"
    child = await Child.start(
        ["/usr/bin/env", "STOREBOOT_DIE_AT=rollout.given", STOREBOOT, "serve", "-c", room],
        output=output,
    )
    async with asyncio.timeout(60):
        while "serve.ready" not in output.read_text():  # noqa: ASYNC110 (a file)
            await asyncio.sleep(0.1)
    config = configuration.load(room)
    async with aiohttp.ClientSession(f"http://127.0.0.1:{config.http.port}") as http:
        with pytest.raises(aiohttp.ClientError):
            await Machine(http, lab.machines[0].host, lab.machines[0].mac).script()
    assert await child.wait() == -9
    assert (await lab.parts())["room1"][0] == "waiting"
    async with (
        server.running(config) as running,
        aiohttp.ClientSession(running.service.url) as http,
    ):
        again = replace(lab, running=running, machines=[
            Machine(http, each.host, each.mac) for each in lab.machines
        ])  # fmt: skip
        assert (await again.parts())["room1"][0] == "trying"
        assert await again.offered() == [True, False, False]
        await again.come_up(again.machines[0], lab.two)
        await again.go_on()
        assert (await again.parts())["room1"][0] == "done"


async def test_what_waits_for_its_turn_is_not_collected(
    room: Path, tmp_path: Path, config: Config
) -> None:
    async with opened(room, tmp_path) as lab:
        await lab.roll_out("--batch", 1)
        await lab.storeboot("gc", "--keep", 0)
        collect_garbage(config)
        assert exists(config, lab.two)
        await lab.storeboot("rollout", "stop", 1)
        await lab.storeboot("gc", "--keep", 0)
        assert not exists(config, lab.two)
