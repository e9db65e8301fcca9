"""Machines boot and run on while the database is away, and what they did is written down later."""

from __future__ import annotations

import asyncio
import json
import os
import sqlite3
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, closing, contextmanager
from pathlib import Path

import pytest
from typing_extensions import override

from integration import postgresql
from integration.daemons import Served, request_of, serving, until
from integration.deploying import STOREBOOT, make_system
from integration.postgresql import Postgres
from integration.servers import MAC, as_toml, make_config
from storeboot.config import Config, HostSection, load
from storeboot.deploy.inventory import opened
from storeboot.nix.store import StorePath
from storeboot.process import Child

ADDED = "52:54:00:00:00:02"


class Fault:
    """A way in which a database fails, and its end. Subclasses are ways."""

    url: str | None = None

    def begin(self) -> None:
        raise NotImplementedError

    def end(self) -> None:
        raise NotImplementedError


class Hung(Fault):
    """PostgreSQL's processes are stopped."""

    def __init__(self, server: Postgres) -> None:
        self.server = server
        self.url = server.url

    @override
    def begin(self) -> None:
        self.server.pause()

    @override
    def end(self) -> None:
        self.server.resume()


class Killed(Hung):
    """PostgreSQL is killed."""

    @override
    def begin(self) -> None:
        self.server.kill()

    @override
    def end(self) -> None:
        self.server.start()


class Refused(Hung):
    """PostgreSQL is shut down, and its socket gone."""

    @override
    def begin(self) -> None:
        self.server.stop()

    @override
    def end(self) -> None:
        self.server.start()


class Locked(Fault):
    """Another process writes to SQLite's file and does not end."""

    def __init__(self, file: Path) -> None:
        self.file = file

    @override
    def begin(self) -> None:
        self.other = sqlite3.connect(self.file, isolation_level=None, check_same_thread=False)
        self.other.execute("BEGIN IMMEDIATE")

    @override
    def end(self) -> None:
        self.other.execute("ROLLBACK")
        self.other.close()


class Damaged(Fault):
    """Another disk would have SQLite's file; an operator brings it back."""

    def __init__(self, file: Path) -> None:
        self.file = file

    @override
    def begin(self) -> None:
        self.good = self.file.with_name("good")
        with (
            closing(sqlite3.connect(self.file)) as source,
            closing(sqlite3.connect(self.good)) as goal,
        ):
            source.backup(goal)
        self._beside("-wal").touch()
        self.file.write_bytes(b"\xa5" * self.file.stat().st_size)
        os.truncate(self._beside("-wal"), 0)

    @override
    def end(self) -> None:
        for name in ("-wal", "-shm"):
            self._beside(name).unlink(missing_ok=True)
        self.good.replace(self.file)

    def _beside(self, name: str) -> Path:
        return self.file.with_name(self.file.name + name)


WAYS = (Hung, Killed, Refused, Locked, Damaged)


@contextmanager
def fault(way: type[Fault], state: Path) -> Iterator[Fault]:
    if issubclass(way, Hung):
        with postgresql.server() as server:
            yield way(server)
    else:
        assert issubclass(way, (Locked, Damaged))
        yield way(state / "storeboot.sqlite")


class Lab:
    """A declared and an added host that boot a system, and a database that will fail."""

    def __init__(self, directory: Path, way: Fault) -> None:
        made = make_config(directory)
        self.config: Config = made.model_copy(update={"hosts": {"lab1": HostSection(mac=(MAC,))}})
        self.fault = way
        self.fails = False
        self.path = directory / "storeboot.toml"
        url = f'[database]\nurl = "{way.url}"\n' if way.url else ""
        self.path.write_text(as_toml(self.config) + url)
        self.system: StorePath = make_system(self.config, directory, 1)
        with opened(load(self.path)) as inventory:
            inventory.registry.add_all({"lab2": HostSection(mac=(ADDED,))}, 0)
            for name in ("lab1", "lab2"):
                host = inventory.registry.require(name)
                inventory.deployments.deploy(host, self.system, inventory.url, print)

    def deploy(self, system: StorePath, *, test: bool) -> None:
        """Give lab1 another system."""
        with opened(load(self.path)) as inventory:
            host, url = inventory.registry.require("lab1"), inventory.url
            if test:
                inventory.tests.begin(host, system, url, print, seconds=300, confirms=True)
            else:
                inventory.deployments.deploy(host, system, url, print)

    @asynccontextmanager
    async def failing(self) -> AsyncIterator[None]:
        """The database fails; at the end of the block it is well, if it was not made so before."""
        await asyncio.to_thread(self.fault.begin)
        self.fails = True
        try:
            yield
        finally:
            await self.end_fault()

    async def end_fault(self) -> None:
        if self.fails:
            self.fails = False
            await asyncio.to_thread(self.fault.end)


@pytest.fixture(params=WAYS, ids=lambda way: way.__name__.lower())
def lab(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Lab]:
    with fault(request.param, tmp_path / "state") as way:
        yield Lab(tmp_path, way)


async def boots_everything(lab: Lab, served: Served) -> None:
    """Both machines boot, and neither waits for long."""
    await served.boot("lab1", MAC, lab.system, "a")
    await served.boot("lab2", ADDED, lab.system, "b")
    await served.answers_nfs()


async def came_up(served: Served, *hosts: str) -> bool:
    """Whether the database has it that the hosts are up."""
    found = json.loads(await served.command("status", "--json"))
    return all(found[host]["stage"] == "multi-user" for host in hosts)


@pytest.mark.timeout(240)
async def test_machines_boot_while_it_is_away_and_are_written_down_later(lab: Lab) -> None:
    async with serving(lab.config, lab.path) as served:
        before = await served.begin("lab1", MAC, lab.system, "0")
        await until(served.is_well)
        async with lab.failing():
            await boots_everything(lab, served)
            await served.tell(before, "heartbeat")
            found = await served.health()
            assert found["database"]
            assert found["waiting"]["boots"] == 2
            served.waited = 0.0
            await served.boot("lab1", MAC, lab.system, "c")
            assert served.waited < 15, "each of ten requests waits for a database that is away"
        await until(served.is_well, 60)
        assert await came_up(served, "lab1", "lab2")
        assert (await served.health())["lost"] == {}
        again = request_of("lab2", ADDED, lab.system, "b")
        status, _ = await served.post("/boots", data=again)
        assert status == 409, "what was said while it was away counts"
        memory = lab.config.server.state_directory / "memory.json"
        await until(lambda: has(memory, "lab2"))
    # And it starts while it is away, and knows the added host.
    async with lab.failing(), serving(lab.config, lab.path) as served:
        await served.answers_nfs()
        await boots_everything(lab, served)
        assert (await served.health())["database"]
        await lab.end_fault()
        await until(served.is_well, 60)
        assert await came_up(served, "lab1", "lab2")


async def has(file: Path, word: str) -> bool:
    return await asyncio.to_thread(lambda: file.exists() and word in file.read_text())


@pytest.mark.timeout(240)
async def test_no_test_begins_while_it_is_away_and_none_is_lost(tmp_path: Path) -> None:
    with fault(Hung, tmp_path / "state") as chosen:
        lab = Lab(tmp_path, chosen)
        two = make_system(lab.config, tmp_path, 2)
        lab.deploy(two, test=True)
        async with serving(lab.config, lab.path) as served:
            assert f"init={two}/init" in await served.script(MAC)
            async with lab.failing():
                await served.boot("lab1", MAC, lab.system, "a")
            await until(served.is_well, 60)
            assert f"init={two}/init" in await served.script(MAC)
            boot = await served.begin("lab1", MAC, two, "b")
            async with lab.failing():
                await served.tell(boot, "events", stage="multi-user", source="agent")
            await until(served.is_well, 60)

            async def is_confirmed() -> bool:
                return f"init={two}/init" in await served.script(MAC)

            await until(is_confirmed, 60)


@pytest.mark.timeout(240)
async def test_garbage_collection_spares_what_is_not_written_down(tmp_path: Path) -> None:
    """The second generation is run by a boot that nobody could write down; then it goes."""
    with fault(Locked, tmp_path / "state") as chosen:
        lab = Lab(tmp_path, chosen)
        two = make_system(lab.config, tmp_path, 2)
        lab.deploy(two, test=False)
        async with serving(lab.config, lab.path) as served:
            await until(served.is_well)
            async with lab.failing():
                await served.begin("lab1", MAC, two, "a")
                profile = lab.config.server.state_directory / "profiles" / "lab1" / "system"
                profile.unlink()  # as `rollback` leaves it, which needs the database
                profile.symlink_to("system-1-link")
                planned = await served.command("gc", "--dry-run", "--keep", 0, "--json")
                assert [each["system"] for each in json.loads(planned)["held"]] == [two.text]
            await until(served.is_well, 60)
            planned = await served.command("gc", "--dry-run", "--keep", 0, "--json")
            assert [each["host"] for each in json.loads(planned)["held"]] == ["lab1"]


async def test_a_wrong_url_ends_the_server(tmp_path: Path) -> None:
    config = make_config(tmp_path)
    path = tmp_path / "storeboot.toml"
    path.write_text(f'{as_toml(config)}[database]\nurl = "nothing://x"\n')
    child = await Child.start([STOREBOOT, "serve", "-c", path], output=tmp_path / "output")
    async with asyncio.timeout(30):
        assert await child.wait() == 1
    assert "no URL of a database" in (tmp_path / "output").read_text()
