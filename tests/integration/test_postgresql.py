"""The same code on PostgreSQL: hosts, generations, tests, boots, leases and events."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import aiohttp
import pytest
from alembic.autogenerate import compare_metadata
from alembic.runtime.migration import MigrationContext

from integration.deploying import WAIT, make_system, storeboot
from integration.deploying import Machine as BootingMachine
from integration.postgresql import postgresql
from integration.servers import MAC, as_toml, make_config
from storeboot.config import Config, DatabaseSection, HostSection, MachinesSection
from storeboot.errors import StorebootError
from storeboot.hosts.database import open_database
from storeboot.hosts.host import Machine
from storeboot.hosts.schema import metadata
from storeboot.hosts.unknown import UnknownMachines
from storeboot.nix.store import StorePath
from storeboot.serve import server


@pytest.fixture(scope="module")
def url() -> Iterator[str]:
    with postgresql() as made:
        yield made


@pytest.fixture
def config(tmp_path: Path, url: str) -> Config:
    made = make_config(tmp_path)
    return made.model_copy(
        update={
            "hosts": {"lab1": HostSection(mac=(MAC,))},
            "database": DatabaseSection(url=url),
            "machines": MachinesSection(unknown="register"),
        }
    )


@pytest.fixture
def path(config: Config, tmp_path: Path) -> Path:
    file = tmp_path / "storeboot.toml"
    file.write_text(f'{as_toml(config)}[database]\nurl = "{config.database.url}"\n')
    return file


def test_its_schema_is_the_one_of_the_tables(url: str) -> None:
    engine = open_database(url)
    with engine.connect() as connection:
        assert compare_metadata(MigrationContext.configure(connection), metadata) == []
    engine.dispose()


def test_one_that_cannot_be_reached_is_an_error_with_its_cure() -> None:
    with pytest.raises(StorebootError, match="cannot use the database") as caught:
        open_database("postgresql+psycopg://nobody@/nothing?host=/nowhere")
    assert caught.value.hint
    for wrong in ("nonsense", "nothing://x"):
        with pytest.raises(StorebootError, match=r"database\.url is no URL"):
            open_database(wrong)


async def test_a_life_of_a_host(config: Config, path: Path, tmp_path: Path) -> None:
    one, two = (make_system(config, tmp_path, number) for number in (1, 2))
    storeboot(path, "deploy", "lab1", one)
    storeboot(path, "deploy", "--test", "--auto-confirm", "lab1", two, WAIT)
    async with (
        server.running(config) as running,
        aiohttp.ClientSession(running.service.url) as http,
    ):
        machine = BootingMachine(http)
        assert f"init={two}/init" in await machine.script()
        boot = await machine.begin(two)
        await machine.reach(boot, "multi-user")
        running.service.boots.touch_addresses(["127.0.0.1"], time.time())
        assert [lease.id for lease in running.service.boots.leases(time.time(), 60)] == [
            boot["boot"]
        ]
        async with http.get("/boot", params={"mac": "52:54:00:00:00:99"}) as response:
            assert "no host" in await response.text()
    assert [row["mac"] for row in shown(path, "host", "list", "--unknown")] == ["52:54:00:00:00:99"]
    storeboot(path, "host", "adopt", "52:54:00:00:00:99", "lab2")
    storeboot(path, "host", "set", "lab2", "--serial", "S2")
    assert {row["name"] for row in shown(path, "host", "list")} == {"lab1", "lab2"}
    assert status(path) == two
    removed = shown(path, "gc", "--keep", 0)["removed"]
    assert [each["generation"] for each in removed] == [1]
    storeboot(path, "host", "remove", "lab2")


def test_the_oldest_unknown_machine_makes_room(url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("storeboot.hosts.unknown.MAX_UNKNOWN", 2)
    engine = open_database(url)
    unknown = UnknownMachines(engine)
    for number in (1, 2, 3):
        unknown.see(Machine(mac=f"52:54:00:00:02:0{number}"), "10.0.0.1", float(number))
    assert [each.last_at for each in unknown.all()] == [3.0, 2.0]
    for each in unknown.all():
        unknown.forget(each.mac)
    engine.dispose()


def shown(path: Path, *words: object) -> Any:
    return json.loads(storeboot(path, *words, "--json"))


def status(path: Path) -> StorePath:
    return StorePath(shown(path, "status")["lab1"]["next"])
