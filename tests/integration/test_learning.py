"""A boot's hot files, told over HTTP as the agent tells them."""

from __future__ import annotations

import os
from collections.abc import AsyncIterator
from pathlib import Path

import aiohttp
import pytest

from integration.servers import MAC, make_config
from storeboot.deploy.state import StateDirectory
from storeboot.pack.hot import HotList
from storeboot.serve import server


@pytest.fixture
async def running(tmp_path: Path) -> AsyncIterator[server.Server]:
    async with server.running(make_config(tmp_path)) as made:
        packs = made.service.inventory.systems.packs
        (view,) = packs.ready
        record = made.service.state.view(view)
        assert record is not None
        (path,) = record.paths
        base = path.rpartition("/")[2].encode()
        hot = HotList({base + b"/init": 0.25, base + b"/bin/tool": 0.25})
        made.service.state.set_hot(view, hot)
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
        learned = running.service.state.hot(view)
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
    learned = running.service.state.hot(view)
    assert learned is not None
    assert learned.files == before


async def test_only_the_boot_itself_tells_and_only_packs_are_served(running: server.Server) -> None:
    (view,) = running.service.inventory.systems.packs.ready
    async with aiohttp.ClientSession(running.service.url) as http:
        agent = await begin(http, view, "a")
        before = running.service.state.hot(view)
        assert await agent.tell([], key="0" * 32) == 403
        assert running.service.state.hot(view) == before
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


def test_hot_lists_of_gone_views_are_few(tmp_path: Path) -> None:
    state = StateDirectory(tmp_path / "state")
    views = [f"{number:032x}" for number in range(5)]
    for number, view in enumerate(views):
        state.set_hot(view, HotList({b"file": 1.0}))
        os.utime(tmp_path / "state" / "hot" / f"{view}.json", (number, number))
    state.forget_hot(lambda view: view == views[0], 2)
    kept = {file.stem for file in (tmp_path / "state" / "hot").iterdir()}
    assert kept == {views[0], views[3], views[4]}
