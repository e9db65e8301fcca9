"""Whatever comes over HTTP, a machine that boots is served, and NFS keeps its descriptors."""

from __future__ import annotations

import asyncio
import os
import socket
from collections.abc import AsyncIterator
from contextlib import ExitStack
from pathlib import Path

import aiohttp
import pytest

from integration.daemons import Served, serving
from integration.servers import MAC, as_toml, make_config
from storeboot.config import Config
from storeboot.nfs.views import view_id
from storeboot.nix.store import StorePath
from storeboot.serve import server

GET = b"GET /boot?mac=52-54-00-00-00-01 HTTP/1.1\r\nHost: x\r\n"


@pytest.fixture
def config(tmp_path: Path) -> Config:
    return make_config(tmp_path)


@pytest.fixture
async def running(config: Config) -> AsyncIterator[server.Server]:
    async with server.running(config) as made:
        yield made


def system(config: Config) -> StorePath:
    return StorePath(str(config.hosts["lab1"].system))


def connect(config: Config, source: str, said: bytes = b"") -> socket.socket:
    made = socket.create_connection(("127.0.0.1", config.http.port), 5, (source, 0))
    made.sendall(said)
    return made


async def boots(config: Config, running: server.Server) -> None:
    """A machine with an address of its own gets its script and its kernel in good time."""
    view = view_id([system(config).text]).hex()
    async with asyncio.timeout(30), aiohttp.ClientSession(running.service.url) as http:
        async with http.get("/boot", params={"mac": MAC}) as response:
            assert "kernel" in await response.text()
        async with http.get(f"/views/{view}/kernel", params={"host": "lab1"}) as response:
            assert len(await response.read()) == 16384


async def ended(one: socket.socket) -> bytes:
    """What came over a connection until its end."""
    loop, found = asyncio.get_running_loop(), b""
    one.setblocking(False)
    async with asyncio.timeout(20):
        try:
            while data := await loop.sock_recv(one, 4096):
                found += data
        except ConnectionError:
            pass
    return found


@pytest.mark.parametrize("said", [b"", GET, GET + b"\r\n"], ids=["silent", "half", "idle"])
async def test_connections_that_ask_nothing_more_end(
    config: Config, running: server.Server, monkeypatch: pytest.MonkeyPatch, said: bytes
) -> None:
    monkeypatch.setattr("storeboot.serve.http.gate.SILENT_SECONDS", 0.5)
    with await asyncio.to_thread(connect, config, "127.0.0.66", said) as one:
        found = await ended(one)
    assert (b" 200 OK" in found) is said.endswith(b"\r\n\r\n")


async def test_headers_that_drip_end_as_well(
    config: Config, running: server.Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("storeboot.serve.http.gate.SILENT_SECONDS", 1.0)
    with await asyncio.to_thread(connect, config, "127.0.0.66", GET) as one:
        task = asyncio.create_task(ended(one))
        while not task.done():
            try:
                one.send(b"X: y\r\n")
            except OSError:
                break
            await asyncio.sleep(0.1)
        assert b"200" not in await task


async def test_one_address_has_so_many_connections_and_no_more(
    config: Config, running: server.Server
) -> None:
    gate = running.runner.gate
    with ExitStack() as stack:
        for _ in range(gate.most_of_peer + 50):
            stack.enter_context(await asyncio.to_thread(connect, config, "127.0.0.66"))
        await boots(config, running)
        assert len(gate) <= gate.most_of_peer + 4
        assert gate.evicted >= 50, "the oldest that asked nothing made room"


async def test_when_all_are_taken_the_greediest_address_makes_room(
    config: Config, running: server.Server
) -> None:
    gate = running.runner.gate
    gate.most = 60
    with ExitStack() as stack:
        for number in range(120):
            source = f"127.0.0.{60 + number % 8}"
            stack.enter_context(await asyncio.to_thread(connect, config, source, GET))
        await boots(config, running)
        assert len(gate) <= 60


async def test_connections_that_are_served_make_room_too(
    config: Config, running: server.Server
) -> None:
    """All of them are bodies on their way, of a stranger; a machine boots."""
    gate = running.runner.gate
    gate.most = gate.most_of_peer = 20
    said = b"POST /boots HTTP/1.1\r\nHost: x\r\nContent-Length: 8000\r\n\r\nhost=lab1\n"
    with ExitStack() as stack:
        for _ in range(30):
            stack.enter_context(await asyncio.to_thread(connect, config, "127.0.0.66", said))
        await boots(config, running)


async def test_a_body_that_stops_coming_is_given_up(
    config: Config, running: server.Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("storeboot.serve.http.bodies.PIECE_SECONDS", 0.5)
    said = b"POST /boots HTTP/1.1\r\nHost: x\r\nContent-Length: 8000\r\n\r\nhost=lab1\n"
    with await asyncio.to_thread(connect, config, "127.0.0.66", said) as one:
        assert b" 408 " in await ended(one)


async def test_a_body_that_drips_is_given_up(
    config: Config, running: server.Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("storeboot.serve.http.bodies.BODY_SECONDS", 1.0)
    said = b"POST /boots HTTP/1.1\r\nHost: x\r\nContent-Length: 8000\r\n\r\nhost=lab1\n"
    with await asyncio.to_thread(connect, config, "127.0.0.66", said) as one:
        task = asyncio.create_task(ended(one))
        while not task.done():
            try:
                one.send(b"x")
            except OSError:
                break
            await asyncio.sleep(0.1)
        assert b" 408 " in await task


async def test_a_compressed_body_is_refused(config: Config, running: server.Server) -> None:
    headers = {"Content-Encoding": "gzip"}
    async with (
        aiohttp.ClientSession(running.service.url) as http,
        http.post("/boots", data=b"\x1f\x8b", headers=headers) as response,
    ):
        assert response.status == 415


@pytest.mark.timeout(120)
@pytest.mark.parametrize("workers", [0, 1])
async def test_few_descriptors_are_shared_with_nfs(
    config: Config, tmp_path: Path, workers: int
) -> None:
    """64 descriptors in all, 300 silent connections over HTTP, and a machine that reads and one
    that boots."""
    path = tmp_path / "storeboot.toml"
    path.write_text(as_toml(config).replace("[nfs]", f"[nfs]\nworkers = {workers}"))
    async with serving(config, path, "prlimit", "--nofile=64", "--") as served:
        with ExitStack() as stack:
            for number in range(300):
                source = f"127.0.0.{60 + number % 8}"
                stack.enter_context(await asyncio.to_thread(connect, config, source))
            for number in range(3):
                await served.answers_nfs(source=f"127.0.0.{20 + number}")
            await served.boot("lab1", MAC, system(config), "a")


def resident(served: Served) -> int:
    """Bytes of memory that the server's process has."""
    words = Path("/proc", str(served.child.pid), "statm").read_text().split()
    return int(words[1]) * os.sysconf("SC_PAGE_SIZE")


@pytest.mark.timeout(120)
async def test_reports_take_no_memory_and_few_come_at_a_time(
    config: Config, tmp_path: Path
) -> None:
    path = tmp_path / "storeboot.toml"
    path.write_text(as_toml(config))
    async with serving(config, path) as served:
        boot = await served.begin("lab1", MAC, system(config), "a")
        before = await asyncio.to_thread(resident, served)
        loop = asyncio.get_running_loop()
        with ExitStack() as stack:
            held = []
            for number in range(12):
                one = await asyncio.to_thread(connect, config, f"127.0.0.{60 + number}")
                stack.enter_context(one)
                one.setblocking(False)
                url = f"/boots/{boot['boot']}/reports/{PARTS[number % 7]}"
                words = (f"POST {url} HTTP/1.1", "Host: x", f"Content-Length: {32 << 20}",
                         f"Authorization: Bearer {boot['key']}", "", "")  # fmt: skip
                head = "\r\n".join(words)
                await loop.sock_sendall(one, head.encode())
                held.append(one)
            sending = [asyncio.create_task(send(one, 24 << 20)) for one in held]
            done, _ = await asyncio.wait(sending, timeout=30)
            assert len(done) == len(sending), "each has sent it, or was refused"
            assert await asyncio.to_thread(resident, served) < before + (40 << 20)
            await served.script(MAC)
    reports = config.server.state_directory / "reports"
    left = [file for file in reports.rglob("*") if file.is_file()]
    assert not [file for file in left if file.name != "host"], "nothing is left of what did not end"


PARTS = ("mountstats", "hashes", "attributes", "mountstats-after", "agent-log", "failed-units",
         "facts")  # fmt: skip


async def send(one: socket.socket, size: int) -> None:
    loop, block = asyncio.get_running_loop(), b"x" * (256 << 10)
    try:
        for _ in range(size // len(block)):
            await loop.sock_sendall(one, block)
    except ConnectionError:
        pass


async def test_reports_have_quotas(
    config: Config, running: server.Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, limit in (("MAX_PART", 4000), ("MAX_BOOT", 10_000), ("MAX_HOST", 15_000)):
        monkeypatch.setattr(f"storeboot.deploy.reports.{name}", limit)
    monkeypatch.setattr("storeboot.service.reporting.MAX_PART", 4000)
    async with aiohttp.ClientSession(running.service.url) as http:

        async def report(boot: dict[str, str], part: str, size: int) -> int:
            url = f"/boots/{boot['boot']}/reports/{part}"
            headers = {"Authorization": f"Bearer {boot['key']}"}
            async with http.post(url, data=b"x" * size, headers=headers) as response:
                return response.status

        async def begin(nonce: str) -> dict[str, str]:
            view = view_id([system(config).text]).hex()
            body = f"host=lab1\nview={view}\nnonce={nonce * 32}\nmac={MAC}\n"
            async with http.post("/boots", data=body) as response:
                lines = (await response.text()).splitlines()
            return dict(line.split("=", 1) for line in lines)

        first = await begin("a")
        assert await report(first, "hashes", 4001) == 413
        sizes = [await report(first, part, 4000) for part in PARTS[:3]]
        assert sizes == [200, 200, 507]
        second = await begin("b")
        assert await report(second, "hashes", 4000) == 200
        assert await report(second, "attributes", 4000) == 200
        reports = running.service.state.path / "reports"
        assert {each.name for each in reports.iterdir()} == {second["boot"]}, "the oldest went"


async def test_a_disk_keeps_some_room(
    config: Config, running: server.Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("storeboot.deploy.reports.FLOOR", 1 << 60)
    monkeypatch.setattr("storeboot.deploy.reports.FLOOR_PART", 1)
    async with aiohttp.ClientSession(running.service.url) as http:
        view = view_id([system(config).text]).hex()
        body = f"host=lab1\nview={view}\nnonce={'a' * 32}\nmac={MAC}\n"
        async with http.post("/boots", data=body) as response:
            boot = dict(line.split("=", 1) for line in (await response.text()).splitlines())
        headers = {"Authorization": f"Bearer {boot['key']}"}
        url = f"/boots/{boot['boot']}/reports/facts"
        async with http.post(url, data=b"x=1\n", headers=headers) as response:
            assert response.status == 507
            assert "no room" in (response.reason or "")
