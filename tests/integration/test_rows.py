"""What is written down of machines is bounded, and strangers displace nothing of a real boot."""

from __future__ import annotations

from collections import Counter
from collections.abc import AsyncIterator
from pathlib import Path

import aiohttp
import pytest
from alembic import command
from alembic.config import Config as AlembicConfig
from sqlalchemy import create_engine

from integration.nfs_client import NfsClient
from integration.servers import MAC, make_config
from storeboot.config import Config, MachinesSection
from storeboot.deploy.inventory import opened
from storeboot.hosts import migrations
from storeboot.nfs.views import view_id
from storeboot.serve import server

STRANGER = "127.0.0.66"


@pytest.fixture
def config(tmp_path: Path) -> Config:
    made = make_config(tmp_path)
    return made.model_copy(update={"machines": MachinesSection(unknown="register")})


@pytest.fixture
async def running(config: Config) -> AsyncIterator[server.Server]:
    async with server.running(config) as made:
        yield made


@pytest.fixture
async def machine(running: server.Server) -> AsyncIterator[aiohttp.ClientSession]:
    async with aiohttp.ClientSession(running.service.url) as made:
        yield made


@pytest.fixture
async def stranger(running: server.Server) -> AsyncIterator[aiohttp.ClientSession]:
    """On another address."""
    connector = aiohttp.TCPConnector(local_addr=(STRANGER, 0))
    async with aiohttp.ClientSession(running.service.url, connector=connector) as made:
        yield made


def request(config: Config, nonce: str) -> str:
    view = view_id([str(config.hosts["lab1"].system)]).hex()
    return f"host=lab1\nview={view}\nnonce={nonce}\nmac={MAC}\n"


async def begin(http: aiohttp.ClientSession, config: Config, nonce: str) -> dict[str, str]:
    async with http.post("/boots", data=request(config, nonce)) as response:
        assert response.status == 200, response.reason
        lines = (await response.text()).splitlines()
    return dict(line.split("=", 1) for line in lines)


async def tell(
    http: aiohttp.ClientSession, boot: dict[str, str], stage: str, detail: bytes = b"", **said: str
) -> int:
    url, headers = f"/boots/{boot['boot']}/events", {"Authorization": f"Bearer {boot['key']}"}
    query = {"stage": stage, **said}
    async with http.post(url, params=query, data=detail, headers=headers) as response:
        return response.status


async def test_whoever_asks_for_scripts_displaces_no_event_of_a_boot(
    config: Config, running: server.Server, machine: aiohttp.ClientSession,
    stranger: aiohttp.ClientSession,
) -> None:  # fmt: skip
    boot = await begin(machine, config, "a" * 32)
    for stage in ("begin", "mount", "multi-user"):
        assert await tell(machine, boot, stage) == 200
    for _ in range(2300):
        async with stranger.get("/boot", params={"mac": MAC}) as response:
            assert response.status == 200
    events = running.service.boots.events_since("lab1", 0)
    assert [each.stage for each in events if each.boot] == ["begin", "mount", "multi-user"]
    assert len(events) <= 203
    async with machine.post("/boots", data=request(config, "a" * 32)) as response:
        assert response.status == 409
        assert boot["key"] not in await response.text()


async def test_boots_in_a_hosts_name_have_an_end_and_the_machine_keeps_its_lease(
    config: Config, running: server.Server, machine: aiohttp.ClientSession,
    stranger: aiohttp.ClientSession,
) -> None:  # fmt: skip
    boot = await begin(machine, config, "a" * 32)
    for number in range(250):
        other = await begin(stranger, config, f"{number:032x}")
        assert await tell(stranger, other, "begin") == 200
    boots = running.service.boots
    assert len(boots.newest("lab1", 10_000)) <= 200
    assert boots.get(boot["boot"]) is not None, "a stranger took the place of the machine's boot"
    assert await tell(machine, boot, "multi-user") == 200
    held = {each.id for each in running.service.inventory.leases(running.service.clock())}
    assert boot["boot"] in held


async def test_of_one_address_the_boot_that_reads_the_store_stays(
    config: Config, running: server.Server, machine: aiohttp.ClientSession,
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    monkeypatch.setattr("storeboot.hosts.records.MAX_BOOTS_PER_HOST", 4)
    boots = running.service.boots
    with NfsClient(config.nfs.port, source=STRANGER) as client:
        assert client is not None
        connector = aiohttp.TCPConnector(local_addr=(STRANGER, 0))
        async with aiohttp.ClientSession(running.service.url, connector=connector) as reads:
            boot = await begin(reads, config, "a" * 32)
        for number in range(10):
            await begin(machine, config, f"{number:032x}")
        assert len(boots.newest("lab1", 100)) == 4
        assert boots.get(boot["boot"]) is not None


async def test_one_boot_has_an_end_to_what_it_says(
    config: Config, running: server.Server, machine: aiohttp.ClientSession
) -> None:
    boot = await begin(machine, config, "a" * 32)
    for stage in ("begin", "mount"):
        assert await tell(machine, boot, stage) == 200
    for _ in range(150):
        assert await tell(machine, boot, "refused", b"x" * 16_000) == 200
    assert await tell(machine, boot, "shutdown") == 200
    events = running.service.boots.events_of(boot["boot"])
    assert Counter(each.stage for each in events)["refused"] == 97
    assert {each.stage for each in events} == {"begin", "mount", "refused", "shutdown"}
    assert sum(len(each.detail) for each in events) <= 64 << 10


async def test_made_up_machines_displace_their_own(
    config: Config, running: server.Server, machine: aiohttp.ClientSession,
    stranger: aiohttp.ClientSession, monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    monkeypatch.setattr("storeboot.hosts.unknown.MAX_UNKNOWN", 20)
    async with machine.get("/boot", params={"mac": "52:54:00:00:00:99"}) as response:
        assert response.status == 200
    for number in range(50):
        for _ in range(2):
            mac = f"02:00:00:00:00:{number:02x}"
            async with stranger.get("/boot", params={"mac": mac}) as response:
                assert response.status == 200
    seen = running.service.inventory.unknown.all()
    assert len(seen) == 20
    assert "52:54:00:00:00:99" in {each.mac for each in seen}


@pytest.mark.parametrize("uptime", ["nan", "inf", "-inf", "1e308", "-1", "9" * 400])
async def test_numbers_that_cannot_be_are_not_believed(
    config: Config, running: server.Server, machine: aiohttp.ClientSession, uptime: str
) -> None:
    early = f"uptime={uptime}\nstage=network {uptime}\nstage=drivers 5\n"
    async with machine.post("/boots", data=request(config, "a" * 32) + early) as response:
        assert response.status == 200
        lines = (await response.text()).splitlines()
    boot = dict(line.split("=", 1) for line in lines)
    assert await tell(machine, boot, "begin", uptime=uptime) == 200
    (event,) = running.service.boots.events_of(boot["boot"])
    assert (event.stage, event.uptime) == ("begin", None)
    async with machine.get("/boot", params={"mac": MAC, "waited": uptime}) as response:
        assert "kernel" in await response.text()


async def test_text_of_machines_is_only_text(
    config: Config, running: server.Server, machine: aiohttp.ClientSession
) -> None:
    boot = await begin(machine, config, "a" * 32)
    said = "mount: \x1b[2J\x1b]0;title\x07gone\r\n\x9b31m\u202eevil\0\tend\x85"
    assert await tell(machine, boot, "failed", said.encode()) == 200
    (event,) = running.service.boots.events_of(boot["boot"])
    bad = "\N{REPLACEMENT CHARACTER}"
    assert event.detail == f"mount: gone\n{bad}31m{bad}evil{bad}\tend{bad}"
    odd = {"mac": "52:54:00:00:00:98", "uuid": "\x1b[31mu\u2066", "serial": "S\x07\0"}
    async with machine.get("/boot", params=odd) as response:
        assert response.status == 200
    (seen,) = running.service.inventory.unknown.all()
    assert (seen.uuid, seen.serial) == (f"u{bad}", f"S{bad}{bad}")


def test_boots_of_before_know_whether_they_have_spoken(tmp_path: Path) -> None:
    """The database as an older version has left it, brought up to date."""
    made = make_config(tmp_path)
    file = made.server.state_directory / "storeboot.sqlite"
    file.parent.mkdir()
    with create_engine(f"sqlite:///{file}").begin() as connection:
        settings = AlembicConfig()
        place = Path(migrations.__file__).parent
        settings.set_main_option("script_location", str(place))
        settings.attributes["connection"] = connection
        command.upgrade(settings, "0003")
        for number, source in ((1, "initrd"), (2, "server")):
            boot = f"{number:016x}"
            connection.exec_driver_sql(
                "INSERT INTO boots (id, host, view, system, nonce, machine, address, began_at, "
                f"seen_at) VALUES ('{boot}', 'lab1', 'v', '/nix/store/x', '{boot}', '', '', 1, 1)"
            )
            connection.exec_driver_sql(
                "INSERT INTO events (host, boot, source, stage, at) "
                f"VALUES ('lab1', '{boot}', '{source}', 'begin', 1)"
            )
    with opened(made) as inventory:
        found = [inventory.boots.get(f"{number:016x}") for number in (1, 2)]
        assert [each.spoken for each in found if each is not None] == [True, False]
