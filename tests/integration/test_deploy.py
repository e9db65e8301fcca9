"""Generations, leases and garbage collection, on a real Nix store and through the commands."""

from __future__ import annotations

import asyncio
import json
import sys
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import aiohttp
import pytest

from integration.servers import MAC, as_toml, make_config
from integration.stores import QUIET, add, toplevel_tree
from integration.test_cli import fails
from storeboot import faults
from storeboot.config import Config, HostSection, MachinesSection
from storeboot.deploy.inventory import Inventory, opened
from storeboot.errors import CommandError
from storeboot.hosts.boots import Boot
from storeboot.nfs.views import view_id
from storeboot.nix.store import Store, StorePath
from storeboot.process import Child, run
from storeboot.serve import server

STOREBOOT = Path(sys.executable).with_name("storeboot")
DAY = 86400.0


@pytest.fixture
def config(tmp_path: Path) -> Config:
    """One host that is declared without a system."""
    made = make_config(tmp_path)
    return made.model_copy(update={"hosts": {"lab1": HostSection(mac=(MAC,))}})


@pytest.fixture
def path(config: Config, tmp_path: Path) -> Path:
    file = tmp_path / "storeboot.toml"
    file.write_text(as_toml(config))
    return file


def make_system(config: Config, directory: Path, number: int) -> StorePath:
    """A system of its own path, that no root holds."""
    place = directory / f"system-{number}"
    place.mkdir()
    tree = toplevel_tree(place)
    (tree / "generation").write_text(str(number))
    return add(Store(config.store.root), tree)


def storeboot(path: Path, *words: object) -> str:
    return run([STOREBOOT, *map(str, words), "--config", path])


def collect_garbage(config: Config) -> None:
    run(["nix-collect-garbage", "-d", *QUIET], environment={"NIX_REMOTE": str(config.store.root)})


def exists(config: Config, system: StorePath) -> bool:
    return Store(config.store.root).physical(system).exists()


def generations(path: Path) -> list[tuple[int, str, bool]]:
    rows = json.loads(storeboot(path, "generations", "lab1", "--json"))
    return [(row["generation"], row["system"], row["next"]) for row in rows]


def lease(inventory: Inventory, system: StorePath, number: int, **changed: object) -> Boot:
    now = time.time()
    values = {
        "id": f"{number:016x}", "host": "lab1", "view": view_id([system.text]).hex(),
        "system": system.text, "nonce": f"{number:032x}", "machine": MAC, "address": "10.0.0.1",
        "began_at": now, "seen_at": now, **changed,
    }  # fmt: skip
    return inventory.boots.begin(Boot(**values))  # type: ignore[arg-type]


def test_deploy_rollback_and_generations(config: Config, path: Path, tmp_path: Path) -> None:
    one, two = (make_system(config, tmp_path, number) for number in (1, 2))
    storeboot(path, "deploy", "lab1", one, "--dry-run")
    assert generations(path) == []
    storeboot(path, "deploy", "lab1", one)
    link = tmp_path / "result"
    link.symlink_to(two.text)
    storeboot(path, "deploy", "lab1", link)
    assert generations(path) == [(1, one.text, False), (2, two.text, True)]
    storeboot(path, "rollback", "lab1", "--dry-run")
    assert generations(path)[1][2]
    storeboot(path, "rollback", "lab1")
    assert generations(path) == [(1, one.text, True), (2, two.text, False)]
    storeboot(path, "rollback", "lab1", "--generation", 2)
    assert generations(path)[1][2]
    collect_garbage(config)
    assert exists(config, one)
    assert exists(config, two)


async def test_wrong_deployments_end_in_two_lines(path: Path, tmp_path: Path) -> None:
    for words, said in (
        (("deploy", "lab9", "/nix/store/x"), "is not a store path"),
        (("deploy", "lab9", f"/nix/store/{'0' * 32}-x"), "no host or group with hosts 'lab9'"),
        (("deploy", "lab1", f"/nix/store/{'0' * 32}-x"), "does not exist"),
        (("rollback", "lab1"), "no generation before the current one"),
        (("rollback", "lab1", "--generation", "7"), "has no generation 7"),
        (("host", "remove", "lab1"), "is declared in the configuration"),
        (("host", "add", "lab2", "--mac", MAC), "belongs to both 'lab1' and 'lab2'"),
    ):
        assert said in await fails(tmp_path, *words, "--config", path)


def test_hosts_by_command(config: Config, path: Path, tmp_path: Path) -> None:
    system = make_system(config, tmp_path, 1)
    table = tmp_path / "hosts.csv"
    table.write_text(
        "name,mac,kernel_params\nlab2,52:54:00:00:00:02,quiet splash\nlab3,52:54:00:00:00:03,\n"
    )
    storeboot(path, "host", "add", "--csv", table, "--system", system)
    rows = {row["name"]: row for row in json.loads(storeboot(path, "host", "list", "--json"))}
    assert [rows[name]["from"] for name in sorted(rows)] == ["configuration", "command", "command"]
    assert rows["lab2"]["kernel_params"] == ["quiet", "splash"]
    assert rows["lab3"]["system"] == system.text
    storeboot(path, "host", "set", "lab2", "--overlay-size", "8G", "--unset", "kernel-params")
    shown = json.loads(storeboot(path, "host", "show", "lab2", "--json"))
    assert (shown["overlay_size"], shown["kernel_params"]) == ("8G", [])
    answer = json.loads(
        storeboot(path, "host", "whois", "--mac", "52-54-00-00-00-02",
                  "--serial", "Default string", "--json")
    )  # fmt: skip
    assert answer == {"host": "lab2", "because": ["52:54:00:00:00:02"],
                      "ignored": ["Default string"], "system": system.text}  # fmt: skip
    storeboot(path, "host", "remove", "lab2")
    assert "lab2" not in storeboot(path, "host", "list")


def test_what_a_machine_runs_outlives_its_generation(
    config: Config, path: Path, tmp_path: Path
) -> None:
    one, two, three = (make_system(config, tmp_path, number) for number in (1, 2, 3))
    for system in (one, two, three):
        storeboot(path, "deploy", "lab1", system)
    with opened(config) as inventory:
        boot = lease(inventory, one, 1)
    document = json.loads(storeboot(path, "gc", "--keep", 0, "--dry-run", "--json"))
    assert document["freed"] == [two.text]
    assert [number for number, _, _ in generations(path)] == [1, 2, 3]
    document = json.loads(storeboot(path, "gc", "--keep", 0, "--json"))
    assert [each["generation"] for each in document["removed"]] == [1, 2]
    assert [each["boot"] for each in document["held"]] == [boot.id]
    assert document["freed"] == [two.text]
    assert document["bytes"] > 0
    initrds = list((config.server.state_directory / "initrds").glob("*.img"))
    assert len(initrds) == 2
    collect_garbage(config)
    assert exists(config, one)
    assert not exists(config, two)
    with opened(config) as inventory:
        inventory.boots.end(boot.id, time.time())
    assert json.loads(storeboot(path, "gc", "--json"))["freed"] == [one.text]
    assert not exists(config, one)
    assert exists(config, three)


@pytest.mark.parametrize(
    ("ending", "holds"),
    [
        ({}, True),
        ({"seen_at": time.time() - 8 * DAY}, False),
        ({"ended_at": time.time(), "ended_by": "boot"}, False),
        # Somebody else has begun a boot in its name, and it still speaks.
        ({"ended_at": time.time() - 60, "ended_by": "boot"}, True),
        ({"ended_at": time.time() - 60, "ended_by": "shutdown"}, False),
    ],
)
def test_how_a_lease_ends(
    config: Config, tmp_path: Path, ending: dict[str, object], holds: bool
) -> None:
    system = make_system(config, tmp_path, 1)
    with opened(config) as inventory:
        if ending.get("ended_by") == "boot" and not holds:
            ending = {**ending, "seen_at": ending["ended_at"]}
        boot = lease(inventory, system, 1, **ending)
        assert inventory.boots.leases(time.time(), 7 * DAY) == ([boot] if holds else [])


def test_a_mounts_connection_renews_the_lease(config: Config, tmp_path: Path) -> None:
    system = make_system(config, tmp_path, 1)
    with opened(config) as inventory:
        lease(inventory, system, 1, seen_at=time.time() - 6 * DAY)
        later = time.time() + 6 * DAY
        inventory.boots.touch_addresses(["10.0.0.9"], later)
        assert not inventory.boots.leases(later, 7 * DAY)
        inventory.boots.touch_addresses(["10.0.0.1"], later)
        assert inventory.boots.leases(later, 7 * DAY)


def test_another_machine_at_its_old_address_renews_no_lease(config: Config, tmp_path: Path) -> None:
    system = make_system(config, tmp_path, 1)
    with opened(config) as inventory:
        now = time.time()
        lease(inventory, system, 1, began_at=now - 30, seen_at=now - 30)
        moved = lease(inventory, system, 2, address="10.0.0.2", began_at=now - 20, seen_at=now)
        inventory.boots.touch_addresses(["10.0.0.1"], now)  # a boot in its name, at its address
        assert len(inventory.boots.leases(now, DAY)) == 2
        other = lease(inventory, system, 3, host="lab2", began_at=now - 10, seen_at=now)
        later = now + 2 * DAY
        inventory.boots.touch_addresses(["10.0.0.1", "10.0.0.2"], later)
        holding = {boot.id for boot in inventory.boots.leases(later, DAY)}
        assert holding == {moved.id, other.id}


async def test_serve_gives_what_was_deployed_meanwhile(
    config: Config, path: Path, tmp_path: Path
) -> None:
    one, two = (make_system(config, tmp_path, number) for number in (1, 2))
    async with (
        server.running(config) as running,
        aiohttp.ClientSession(running.service.url) as http,
    ):

        async def script() -> str:
            async with http.get("/boot", params={"mac": MAC}) as response:
                return await response.text()

        assert "lab1 has no system" in await script()
        for system in (one, two):
            await asyncio.to_thread(storeboot, path, "deploy", "lab1", system)
            assert f"init={system}/init" in await script()
        await asyncio.to_thread(storeboot, path, "rollback", "lab1")
        assert f"init={one}/init" in await script()
        # A machine that had its script before the change still boots: its view is kept.
        view = view_id([two.text]).hex()
        body = f"host=lab1\nview={view}\nnonce={'a' * 32}\nmac={MAC}\n"
        async with http.post("/boots", data=body) as response:
            assert response.status == 200
        async with http.get(f"/views/{view}/paths") as response:
            assert await response.text() == two.text + "\n"
        status = json.loads(await asyncio.to_thread(storeboot, path, "status", "--json"))
        assert (status["lab1"]["runs"], status["lab1"]["next"]) == (two.text, one.text)


async def test_a_boot_of_a_view_that_is_gone_is_refused(
    config: Config, path: Path, tmp_path: Path
) -> None:
    one, two = (make_system(config, tmp_path, number) for number in (1, 2))
    async with (
        server.running(config) as running,
        aiohttp.ClientSession(running.service.url) as http,
    ):
        for system in (one, two):
            await asyncio.to_thread(storeboot, path, "deploy", "lab1", system)
        await asyncio.to_thread(storeboot, path, "gc", "--keep", 0)
        view = view_id([one.text]).hex()
        body = f"host=lab1\nview={view}\nnonce={'a' * 32}\nmac={MAC}\n"
        async with http.post("/boots", data=body) as response:
            assert response.status == 403
        async with http.get(f"/views/{view}/kernel") as response:
            assert response.status == 404


def test_a_declared_system_is_deployed_once_for_each_change(config: Config, tmp_path: Path) -> None:
    one, two = (make_system(config, tmp_path, number) for number in (1, 2))

    def declared(system: StorePath) -> Config:
        section = HostSection(mac=(MAC,), system=system.text)
        return config.model_copy(update={"hosts": {"lab1": section}})

    def start(given: Config) -> list[str]:
        with opened(given) as inventory:
            host = inventory.registry.require("lab1")
            inventory.deployments.declare(host, inventory.url, print)
            made = inventory.deployments.generations("lab1")
            return [each.system.text for each in made if each.current]

    assert start(declared(one)) == [one.text]
    with opened(config) as inventory:
        host = inventory.registry.require("lab1")
        inventory.deployments.deploy(host, two, inventory.url, print)
    assert start(declared(one)) == [two.text]  # what was deployed since stays
    assert start(declared(two)) == [two.text]
    assert start(declared(one)) == [one.text]  # the configuration has changed


def test_a_host_that_is_removed_frees_what_it_had(
    config: Config, path: Path, tmp_path: Path
) -> None:
    system = make_system(config, tmp_path, 1)
    storeboot(path, "host", "add", "lab2", "--serial", "S2", "--system", system)
    storeboot(path, "host", "remove", "lab2")
    profile = config.server.state_directory / "profiles" / "lab2" / "system"
    profile.unlink()  # as if a collection had been killed on its way
    assert json.loads(storeboot(path, "gc", "--json"))["freed"] == [system.text]
    assert not exists(config, system)
    assert not profile.parent.exists()


async def killed_at(point: str, path: Path, *words: object) -> None:
    child = await Child.start(
        ["/usr/bin/env", f"STOREBOOT_DIE_AT={point}", STOREBOOT, *map(str, words), "-c", path]
    )
    assert await child.wait() == -9, f"{point} was not reached"


async def test_machines_that_are_no_hosts_can_be_adopted(
    config: Config, path: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("storeboot.hosts.unknown.MAX_UNKNOWN", 3)
    system = make_system(config, tmp_path, 1)
    registering = config.model_copy(update={"machines": MachinesSection(unknown="register")})
    async with (
        server.running(registering) as running,
        aiohttp.ClientSession(running.service.url) as http,
    ):
        for mac in ("nonsense", *(f"52:54:00:00:01:0{digit}" for digit in (1, 2, 3, 1, 4))):
            async with http.get("/boot", params={"mac": mac, "uuid": "U" * 500}) as response:
                assert "no host has mac" in await response.text()
        listed = ("host", "list", "--unknown", "--json")
        rows = json.loads(await asyncio.to_thread(storeboot, path, *listed))
        assert [row["mac"][-1] for row in rows] == ["4", "1", "3"]
        words = ("host", "adopt", "52-54-00-00-01-04", "lab4", "--system", system)
        await asyncio.to_thread(storeboot, path, *words)
        async with http.get("/boot", params={"mac": "52:54:00:00:01:04"}) as response:
            assert f"init={system}/init" in await response.text()
    assert len(json.loads(storeboot(path, *listed))) == 2
    said = await fails(tmp_path, "host", "adopt", "52:54:00:00:01:02", "x", "--config", path)
    assert "no unknown machine has the MAC address" in said


class TestMachine:
    """Asks and reports as a machine does."""

    __test__ = False

    def __init__(self, http: aiohttp.ClientSession) -> None:
        self._http = http
        self._boots = 0

    async def script(self) -> str:
        async with self._http.get("/boot", params={"mac": MAC}) as response:
            return await response.text()

    async def begin(self, system: StorePath, nonce: str | None = None) -> dict[str, str]:
        self._boots += 1
        body = (
            f"host=lab1\nview={view_id([system.text]).hex()}\nmac={MAC}\n"
            f"nonce={nonce or format(self._boots, '032x')}\n"
        )
        async with self._http.post("/boots", data=body) as response:
            assert response.status == 200, response.reason
            lines = (await response.text()).splitlines()
        return dict(line.split("=", 1) for line in lines)

    async def reach(self, boot: dict[str, str], stage: str, words: str = "") -> None:
        url = f"/boots/{boot['boot']}/events?source=agent&stage={stage}"
        await self._post(url, boot, words)

    async def heartbeat(self, boot: dict[str, str]) -> str:
        return await self._post(f"/boots/{boot['boot']}/heartbeat", boot, "")

    async def _post(self, url: str, boot: dict[str, str], words: str) -> str:
        headers = {"Authorization": f"Bearer {boot['key']}"}
        async with self._http.post(url, data=words.encode(), headers=headers) as response:
            assert response.status == 200
            return await response.text()


@asynccontextmanager
async def under_test(
    config: Config, path: Path, directory: Path, *options: object
) -> AsyncIterator[tuple[TestMachine, StorePath, StorePath, server.Server]]:
    """A machine whose second generation is on probation."""
    one, two = (make_system(config, directory, number) for number in (1, 2))
    await asyncio.to_thread(storeboot, path, "deploy", "lab1", one)
    await asyncio.to_thread(storeboot, path, "deploy", "--test", "lab1", two, *options)
    async with (
        server.running(config) as running,
        aiohttp.ClientSession(running.service.url) as http,
    ):
        yield TestMachine(http), one, two, running


def verdict(path: Path) -> tuple[str, str]:
    row = json.loads(storeboot(path, "generations", "lab1", "--json"))[1]
    return row["test"]["standing"], row["test"]["reason"]


async def test_a_test_that_does_not_come_up_is_taken_back_and_says_why(
    config: Config, path: Path, tmp_path: Path
) -> None:
    async with under_test(config, path, tmp_path) as (machine, one, two, _):
        for _ in range(3):  # whoever asks, nothing is eaten
            assert f"init={two}/init" in await machine.script()
        boot = await machine.begin(two, "f" * 32)
        again = await machine.begin(two, "f" * 32)  # its answer was lost
        assert again["boot"] == boot["boot"]
        assert verdict(path)[0] == "running"
        assert f"init={one}/init" in await machine.script()
        await machine.reach(boot, "failed", "mount: no such file\nmore words")
        assert verdict(path) == ("failed", "mount: no such file\nmore words")
        assert "failed: mount: no such file" in storeboot(path, "generations", "lab1")
        await machine.begin(one)
        assert f"init={one}/init" in await machine.script()
        assert generations(path) == [(1, one.text, True), (2, two.text, False)]


async def test_an_old_request_that_is_sent_again_decides_no_test(
    config: Config, path: Path, tmp_path: Path
) -> None:
    async with under_test(config, path, tmp_path) as (machine, one, two, running):
        old = await machine.begin(one, "e" * 32)
        await machine.reach(old, "multi-user")
        new = await machine.begin(two)
        with pytest.raises(AssertionError, match="begun already"):
            await machine.begin(one, "e" * 32)
        assert verdict(path)[0] == "running"
        await machine.reach(new, "multi-user")
        assert verdict(path)[0] == "passed"
        with pytest.raises(AssertionError, match="begun already"):
            await machine.begin(one, "e" * 32)
        assert verdict(path)[0] == "passed"
        assert running.service.boots.latest("lab1") is not None


async def test_a_test_whose_machine_boots_again_has_failed(
    config: Config, path: Path, tmp_path: Path
) -> None:
    async with under_test(config, path, tmp_path) as (machine, one, two, _):
        await machine.begin(two)
        await machine.begin(one)
        assert verdict(path) == ("failed", "the machine booted again before it reached multi-user")


async def test_a_test_that_takes_too_long_has_failed_and_the_machine_boots_again(
    config: Config, path: Path, tmp_path: Path
) -> None:
    async with under_test(config, path, tmp_path, "--timeout", 60) as (machine, one, two, running):
        boot = await machine.begin(two)
        await running.service.end_overdue_tests()
        assert verdict(path)[0] == "running"
        running.service.clock = lambda: time.time() + 61
        await running.service.end_overdue_tests()
        assert verdict(path) == ("failed", "no multi-user within 60 s")
        assert await machine.heartbeat(boot) == "reboot"
        assert f"init={one}/init" in await machine.script()


@pytest.mark.parametrize("auto", [False, True])
async def test_a_test_that_comes_up_waits_for_its_confirmation(
    config: Config, path: Path, tmp_path: Path, auto: bool
) -> None:
    options = ["--auto-confirm"] if auto else []
    async with under_test(config, path, tmp_path, *options) as (machine, one, two, _):
        boot = await machine.begin(two)
        assert "is running" in await fails(tmp_path, "confirm", "lab1", "--config", path)
        await machine.reach(boot, "multi-user")
        if not auto:
            assert verdict(path)[0] == "passed"
            assert f"init={one}/init" in await machine.script()
            await asyncio.to_thread(storeboot, path, "confirm", "lab1")
        assert verdict(path)[0] == "confirmed"
        assert generations(path) == [(1, one.text, False), (2, two.text, True)]
        assert f"init={two}/init" in await machine.script()


async def test_another_deployment_ends_a_test_and_gc_takes_neither_side_of_one(
    config: Config, path: Path, tmp_path: Path
) -> None:
    async with under_test(config, path, tmp_path) as (machine, one, two, _):
        await asyncio.to_thread(storeboot, path, "gc", "--keep", 0)
        assert generations(path) == [(1, one.text, False), (2, two.text, True)]
        said = await fails(tmp_path, "deploy", "--test", "lab1", one, "--config", path)
        assert "boots already" in said
        three, four = (make_system(config, tmp_path, number) for number in (3, 4))
        await asyncio.to_thread(storeboot, path, "deploy", "--test", "lab1", three)
        assert verdict(path)[0] == "dropped"
        assert f"init={three}/init" in await machine.script()
        await machine.begin(three)
        assert f"init={one}/init" in await machine.script()
        await asyncio.to_thread(storeboot, path, "deploy", "lab1", four)
        assert f"init={four}/init" in await machine.script()


async def test_a_test_needs_something_to_fall_back_to(
    config: Config, path: Path, tmp_path: Path
) -> None:
    system = make_system(config, tmp_path, 1)
    said = await fails(tmp_path, "deploy", "--test", "lab1", system, "--config", path)
    assert "no generation to fall back to" in said


@pytest.mark.parametrize("point", ["deploy.prepared", "test.begun", "test.added"])
async def test_a_test_killed_at_any_point_is_pending_or_not_there(
    config: Config, path: Path, tmp_path: Path, point: str
) -> None:
    one, two = (make_system(config, tmp_path, number) for number in (1, 2))
    await asyncio.to_thread(storeboot, path, "deploy", "lab1", one)
    await killed_at(point, path, "deploy", "--test", "lab1", two)
    made = generations(path)
    assert [system for _, system, is_next in made if is_next] == [
        two.text if point == "test.added" else one.text
    ]
    async with (
        server.running(config) as running,
        aiohttp.ClientSession(running.service.url) as http,
    ):
        machine = TestMachine(http)
        if point == "test.added":
            await machine.begin(two)
            assert f"init={one}/init" in await machine.script()
        await machine.begin(one)
        assert f"init={one}/init" in await machine.script()
        await asyncio.to_thread(storeboot, path, "deploy", "--test", "lab1", two)
        assert f"init={two}/init" in await machine.script()


@pytest.mark.parametrize("point", [each for each in faults.POINTS if each.startswith("view.r")
                                   or each.startswith("deploy.")])  # fmt: skip
async def test_deploy_killed_at_any_point_is_done_or_not(
    config: Config, path: Path, tmp_path: Path, point: str
) -> None:
    one, two = (make_system(config, tmp_path, number) for number in (1, 2))
    await asyncio.to_thread(storeboot, path, "deploy", "lab1", one)
    await killed_at(point, path, "deploy", "lab1", two)
    (current,) = [system for _, system, is_next in generations(path) if is_next]
    assert current == (two if point == "deploy.switched" else one).text
    await asyncio.to_thread(collect_garbage, config)
    assert all(exists(config, StorePath(system)) for _, system, _ in generations(path))
    if exists(config, two):  # else nothing of it had been promised
        await asyncio.to_thread(storeboot, path, "deploy", "lab1", two)
        assert (2, two.text, True) in generations(path)


@pytest.mark.parametrize("point", ["gc.generations", "view.unrooted", "gc.views"])
async def test_gc_killed_at_any_point_loses_nothing_and_goes_on(
    config: Config, path: Path, tmp_path: Path, point: str
) -> None:
    one, two, three = (make_system(config, tmp_path, number) for number in (1, 2, 3))
    for system in (one, two, three):
        await asyncio.to_thread(storeboot, path, "deploy", "lab1", system)
    with opened(config) as inventory:
        lease(inventory, one, 1)
    await killed_at(point, path, "gc", "--keep", "0")
    assert generations(path) == [(3, three.text, True)]
    assert exists(config, one)
    await asyncio.to_thread(storeboot, path, "gc", "--keep", 0)
    await asyncio.to_thread(collect_garbage, config)
    assert [exists(config, each) for each in (one, two, three)] == [True, False, True]
    state = config.server.state_directory
    kept = {view_id([each.text]).hex() for each in (one, three)}
    assert {file.name for file in (state / "roots").iterdir()} == kept
    assert {file.stem for file in (state / "views").glob("*.json")} == kept


def test_gc_leaves_alone_what_other_roots_hold(config: Config, path: Path, tmp_path: Path) -> None:
    one, two = (make_system(config, tmp_path, number) for number in (1, 2))
    for system in (one, two):
        storeboot(path, "deploy", "lab1", system)
    Store(config.store.root).add_root(tmp_path / "root-of-mine", one)
    document = json.loads(storeboot(path, "gc", "--keep", 0, "--json"))
    assert (document["freed"], document["alive"]) == ([], [one.text])
    assert exists(config, one)
    with pytest.raises(CommandError, match="alive"):
        Store(config.store.root).delete([one.text])
