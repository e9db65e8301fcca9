"""A boot's hot files, told over HTTP as the agent tells them."""

from __future__ import annotations

import asyncio
import os
import time
from collections.abc import AsyncIterator
from pathlib import Path

import aiohttp
import pytest
from structlog.testing import capture_logs

from integration.nfs_client import NfsClient
from integration.servers import MAC, make_config
from integration.stores import add, toplevel_tree
from storeboot.config import HostSection
from storeboot.deploy.packs import MAX_DOUBTED, PAUSES
from storeboot.deploy.state import StateDirectory
from storeboot.nix.store import Store
from storeboot.pack.builder import hot_files
from storeboot.pack.hot import HotList
from storeboot.serve import server

OTHER_MAC = "52:54:00:00:00:02"


@pytest.fixture
async def running(tmp_path: Path) -> AsyncIterator[server.Server]:
    async with server.running(make_config(tmp_path)) as made:
        packs = made.service.inventory.systems.packs
        (view,) = packs.ready
        record = made.service.state.views.get(view)
        assert record is not None
        (path,) = record.paths
        base = path.rpartition("/")[2].encode()
        hot = HotList({base + b"/init": 0.25, base + b"/bin/tool": 0.25})
        made.service.state.hot_lists.set(view, hot)
        packs.build(record, lambda _text: None)
        yield made


class Agent:
    """Of one boot."""

    def __init__(self, http: aiohttp.ClientSession, answer: dict[str, str]) -> None:
        self.http = http
        self.answer = answer

    async def hot(self, view: str) -> list[bytes]:
        async with self.http.get(f"/views/{view}/pack/{self.answer['pack']}/hot") as response:
            assert response.status == 200
            return (await response.read()).splitlines()

    async def comes_up(self) -> None:
        url = f"/boots/{self.answer['boot']}/events?source=agent&stage=multi-user"
        headers = {"Authorization": f"Bearer {self.answer['key']}"}
        async with self.http.post(url, headers=headers) as response:
            assert response.status == 200

    async def tell(self, resident: list[bytes] | None, key: str | None = None) -> int:
        query = {"pack": self.answer["pack"]} | ({} if resident is None else {"known": "1"})
        headers = {"Authorization": f"Bearer {key or self.answer['key']}"}
        body = b"".join(line + b"\n" for line in resident or ())
        url = f"/boots/{self.answer['boot']}/hot"
        async with self.http.post(url, params=query, data=body, headers=headers) as response:
            return response.status


async def begin(http: aiohttp.ClientSession, view: str, nonce: str) -> Agent:
    """A boot that has come up."""
    body = f"host=lab1\nview={view}\nnonce={nonce * 32}\nmac={MAC}\n"
    async with http.post("/boots", data=body) as response:
        lines = (await response.text()).splitlines()
    agent = Agent(http, dict(line.split("=", 1) for line in lines))
    await agent.comes_up()
    return agent


async def test_what_the_page_cache_lacks_grows_cold(running: server.Server) -> None:
    packs = running.service.inventory.systems.packs
    (view,) = packs.ready
    async with aiohttp.ClientSession(running.service.url) as http:
        agent = await begin(http, view, "a")
        hot = await agent.hot(view)
        init = next(name for name in hot if name.endswith(b"/init"))
        assert await agent.tell([init, b"not/of/the/pack"]) == 200
        learned = running.service.state.hot_lists.get(view)
        assert learned is not None
        (tool,) = set(hot) - {init}
        assert set(learned.files) == {init, tool}
        assert learned.files[init] > 0.25 > learned.files[tool]


async def test_a_machine_without_fincore_says_nothing_of_its_pack(running: server.Server) -> None:
    (view,) = running.service.inventory.systems.packs.ready
    async with aiohttp.ClientSession(running.service.url) as http:
        agent = await begin(http, view, "a")
        before = dict.fromkeys(await agent.hot(view), 0.25)
        assert await agent.tell(None) == 200
    learned = running.service.state.hot_lists.get(view)
    assert learned is not None
    assert learned.files == before


async def test_only_the_boot_itself_tells_and_only_packs_are_served(running: server.Server) -> None:
    (view,) = running.service.inventory.systems.packs.ready
    async with aiohttp.ClientSession(running.service.url) as http:
        agent = await begin(http, view, "a")
        before = running.service.state.hot_lists.get(view)
        assert await agent.tell([], key="0" * 32) == 403
        assert running.service.state.hot_lists.get(view) == before
        assert await agent.tell([b"x" * 1000] * 900) == 200
        async with http.get(f"/views/{view}/pack/{'0' * 32}.squashfs/hot") as response:
            assert response.status == 404
        async with http.get(f"/views/{'0' * 32}/pack/{agent.answer['pack']}") as response:
            assert response.status == 404
        async with http.get(f"/views/{view}/pack/{agent.answer['pack']}",
                            headers={"Range": "bytes=0-3"}) as response:  # fmt: skip
            assert (response.status, await response.read()) == (206, b"hsqs")


async def test_a_pack_whose_file_is_gone_is_built_again(running: server.Server) -> None:
    (pack,) = running.service.inventory.systems.packs.ready.values()
    assert pack is not None
    pack.path.unlink()
    async with aiohttp.ClientSession(running.service.url) as http:
        async with http.get("/boot", params={"mac": MAC}) as response:
            assert "kernel" in await response.text()
        agent = await begin(http, pack.view, "a")
        assert agent.answer["pack"] == pack.path.name
        assert await agent.hot(pack.view)


SIZE = 1 << 20  # of each of some files that no boot needs
COUNT = 12


@pytest.fixture
async def large(tmp_path: Path) -> AsyncIterator[server.Server]:
    """A server of a system with files that are large, and different."""
    config = make_config(tmp_path)
    place = tmp_path / "large"
    place.mkdir()
    tree = toplevel_tree(place)
    for number in range(COUNT):
        (tree / f"file-{number}").write_bytes(os.urandom(SIZE))
    system = add(Store(config.store.root), tree)
    macs = {"lab1": MAC, "lab2": OTHER_MAC}
    hosts = {name: HostSection(system=system.text, mac=(mac,)) for name, mac in macs.items()}
    async with server.running(config.model_copy(update={"hosts": hosts})) as made:
        yield made


class Reader:
    """A machine that boots again and again, and reads files of its choice."""

    def __init__(self, running: server.Server, host: str, mac: str, address: str) -> None:
        self._running = running
        self._host = host
        self._mac = mac
        self._address = address
        self._boots = 0

    async def boot(self, *names: str, comes_up: bool = True) -> None:
        ((view, pack),) = self._running.service.inventory.systems.packs.ready.items()
        assert pack is not None
        self._boots += 1
        nonce = f"{self._mac.replace(':', '')}{self._boots:020x}"
        body = f"host={self._host}\nview={view}\nnonce={nonce}\nmac={self._mac}\n"
        connector = aiohttp.TCPConnector(local_addr=(self._address, 0))
        url = self._running.service.url
        async with aiohttp.ClientSession(url, connector=connector) as http:
            async with http.post("/boots", data=body) as response:
                lines = (await response.text()).splitlines()
            agent = Agent(http, dict(line.split("=", 1) for line in lines))
            await asyncio.to_thread(self._read, agent.answer["token"], names)
            if comes_up:
                await agent.comes_up()
            assert await agent.tell([]) == 200

    def _read(self, token: str, names: tuple[str, ...]) -> None:
        port = self._running.service.config.nfs.port
        with NfsClient(port, source=self._address) as nfs:
            root = nfs.mount(f"/view/{token}")
            assert root is not None
            (assignment,) = self._running.service.inventory.systems.ready.values()
            top = nfs.lookup(root, assignment.system.toplevel.base_name.encode())
            assert top is not None
            for name in names:
                file = nfs.lookup(top, name.encode())
                assert file is not None
                nfs.read(file, count=4096)


def in_packs(running: server.Server) -> tuple[int, set[str]]:
    """How many packs were built, and which large files the newest one has."""
    (pack,) = running.service.inventory.systems.packs.ready.values()
    assert pack is not None
    names = {path.rpartition(b"/")[2].decode() for path in hot_files(pack.path)}
    return len(list(pack.path.parent.glob("*.squashfs"))), {n for n in names if "file-" in n}


async def test_nothing_is_learned_of_boots_that_have_not_come_up(large: server.Server) -> None:
    reader = Reader(large, "lab1", MAC, "127.0.0.1")
    before = in_packs(large)
    for number in range(COUNT):
        await reader.boot(f"file-{number}", comes_up=False)
    assert in_packs(large) == before == (1, set())


async def test_no_single_machine_fills_the_packs_of_all(large: server.Server) -> None:
    """However often it boots, and whatever it reads."""

    with capture_logs() as said:
        other = Reader(large, "lab2", OTHER_MAC, "127.0.0.2")
        await other.boot()
        reader = Reader(large, "lab1", MAC, "127.0.0.1")
        for number in range(COUNT):
            await reader.boot(*(f"file-{n}" for n in range(number + 1)))
        built = sum(each["event"] == "pack.built" for each in said)
    _, files = in_packs(large)
    assert built <= 1
    assert len(files) * SIZE <= MAX_DOUBTED
    large.service.inventory.systems.packs.clock = lambda: time.monotonic() + 3600
    await reader.boot(*(f"file-{n}" for n in range(COUNT)))
    _, files = in_packs(large)
    assert 0 < len(files) * SIZE <= MAX_DOUBTED


async def test_what_two_machines_read_is_learned_and_packs_are_built_seldom(
    large: server.Server,
) -> None:
    packs = large.service.inventory.systems.packs
    now = 1000.0
    packs.clock = lambda: now
    one = Reader(large, "lab1", MAC, "127.0.0.1")
    two = Reader(large, "lab2", OTHER_MAC, "127.0.0.2")
    names = [f"file-{number}" for number in range(COUNT)]
    with capture_logs() as said:
        await one.boot(*names)  # the first one is learned from at once, as far as it goes
        assert len(in_packs(large)[1]) == MAX_DOUBTED // SIZE
        await two.boot(*names)
        assert len(in_packs(large)[1]) == MAX_DOUBTED // SIZE
        now += PAUSES[1]
        await asyncio.to_thread(packs.catch_up)  # as the server does every few seconds
        assert len(in_packs(large)[1]) == COUNT
        await one.boot()
        await asyncio.to_thread(packs.catch_up)
    assert sum(each["event"] == "pack.built" for each in said) == 2


async def test_the_only_machine_of_a_system_confirms_what_it_reads(large: server.Server) -> None:
    packs = large.service.inventory.systems.packs
    now = 1000.0
    packs.clock = lambda: now
    one = Reader(large, "lab1", MAC, "127.0.0.1")
    names = [f"file-{number}" for number in range(COUNT)]
    await one.boot(*names)
    now += PAUSES[1]
    await one.boot(*names)
    assert len(in_packs(large)[1]) == COUNT


def test_hot_lists_of_gone_views_are_few(tmp_path: Path) -> None:
    state = StateDirectory(tmp_path / "state")
    views = [f"{number:032x}" for number in range(5)]
    for number, view in enumerate(views):
        state.hot_lists.set(view, HotList({b"file": 1.0}))
        os.utime(tmp_path / "state" / "hot" / f"{view}.json", (number, number))
    state.hot_lists.forget(lambda view: view == views[0], 2)
    kept = {file.stem for file in (tmp_path / "state" / "hot").iterdir()}
    assert kept == {views[0], views[3], views[4]}
