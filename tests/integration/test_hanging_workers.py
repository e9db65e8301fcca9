"""Processes that are stopped or killed, one at a time, while machines read and boot."""

from __future__ import annotations

import asyncio
import os
import signal
import socket
import threading
import time
from collections.abc import AsyncIterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager
from pathlib import Path

import aiohttp
import pytest

from integration.nfs_client import NFS, NfsClient
from integration.servers import MAC, as_toml, make_config
from integration.test_nfs_workers import (
    STOREBOOT,
    mount_path,
    read_tool,
    serving,
    until,
)
from storeboot.config import Config
from storeboot.process import Child
from storeboot.serve import server
from storeboot.serve.nfs import workers as nfs_workers
from storeboot.serve.nfs.workers import NfsWorkers

ADDRESSES = ("127.0.0.2", "127.0.0.3")
STALL = 15.0  # seconds that nothing may take longer than
NULL = (NFS, 3, 0, b"")


async def clients_of(running: server.Server, backend: NfsWorkers) -> dict[int, NfsClient]:
    """A connection of each worker, by its process."""
    port, clients = running.service.config.nfs.port, {}
    for source in ADDRESSES:
        client = await asyncio.to_thread(NfsClient, port, source=source)
        await asyncio.to_thread(client.ask, *NULL)
        (worker,) = (each for each in backend._workers if each.addresses[source])
        clients[worker.child.pid] = client
    assert set(clients) == set(backend.pids)
    return clients


async def boot(running: server.Server) -> None:
    """POST /boots, as an initrd asks it."""
    (assignment,) = running.service.inventory.systems.ready.values()
    body = f"host=lab1\nview={assignment.view.view_id}\nnonce={os.urandom(16).hex()}\nmac={MAC}\n"
    async with (
        aiohttp.ClientSession(running.service.url) as http,
        http.post("/boots", data=body) as response,
    ):
        assert response.status == 200, await response.text()


def served(running: server.Server, source: str) -> float:
    """Seconds until a new machine has read a file; should its connection end, it tries again."""
    began = time.monotonic()
    while True:
        try:
            assert read_tool(running, source)
        except ConnectionError:
            continue
        return time.monotonic() - began


@pytest.mark.timeout(120)
@pytest.mark.parametrize("victim", [0, 1])
@pytest.mark.parametrize("number", [signal.SIGSTOP, signal.SIGKILL])
async def test_a_worker_that_hangs_or_dies_is_replaced_and_nobody_waits(
    tmp_path: Path, victim: int, number: signal.Signals
) -> None:
    async with serving(tmp_path) as (running, backend):
        clients = await clients_of(running, backend)
        hurt = backend.pids[victim]
        (well,) = set(backend.pids) - {hurt}
        os.kill(hurt, number)
        async with asyncio.timeout(STALL):
            await asyncio.gather(boot(running), boot(running), backend.reads(ADDRESSES[0]))
        sources = [f"127.0.4.{each}" for each in range(1, 11)]
        async with asyncio.timeout(STALL):
            times = await asyncio.gather(
                *(asyncio.to_thread(served, running, source) for source in sources)
            )
            await asyncio.to_thread(clients[well].ask, *NULL)
            await until(backend, 2, without=hurt)
        assert max(times) < STALL
        assert well in backend.pids
        with pytest.raises(ConnectionError):
            await asyncio.to_thread(clients[hurt].ask, *NULL)
        assert await asyncio.to_thread(read_tool, running, ADDRESSES[victim])
        for client in clients.values():
            client.socket.close()


@pytest.mark.timeout(120)
async def test_what_a_stopped_worker_has_read_is_not_waited_for(tmp_path: Path) -> None:
    async with serving(tmp_path, workers=1) as (running, backend):
        assert await asyncio.to_thread(read_tool, running, "127.0.0.2")
        (pid,) = backend.pids
        os.kill(pid, signal.SIGSTOP)
        async with asyncio.timeout(STALL):
            assert await backend.reads("127.0.0.2") == set()
            assert not await backend.calls()


@pytest.mark.timeout(120)
async def test_a_worker_that_hangs_at_its_start_is_replaced(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    start = Child.start
    stopped: list[int] = []

    async def stop_the_first(*arguments: object, **options: object) -> Child:
        child = await start(*arguments, **options)  # type: ignore[arg-type]
        if not stopped:
            stopped.append(child.pid)
            child.send(signal.SIGSTOP)
        return child

    monkeypatch.setattr(Child, "start", stop_the_first)
    async with serving(tmp_path, workers=1) as (running, backend):
        async with asyncio.timeout(STALL):
            await until(backend, 1, without=stopped[0])
        assert await asyncio.to_thread(read_tool, running)


@asynccontextmanager
async def standalone(directory: Path, config: Config) -> AsyncIterator[Child]:
    """`storeboot serve` as a process of its own."""
    file = directory / "storeboot.toml"
    file.write_text(as_toml(config))
    child = await Child.start([STOREBOOT, "serve", "--config", file], output=directory / "log")
    try:
        yield child
    finally:
        child.send(signal.SIGCONT)
        await child.stop()


def children(pid: int) -> set[int]:
    return {int(each) for each in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()}


async def connected(port: int, source: str) -> NfsClient:
    """As soon as the server listens."""
    while True:
        try:
            return await asyncio.to_thread(NfsClient, port, source=source)
        except ConnectionRefusedError:
            await asyncio.sleep(0.05)


@pytest.mark.timeout(120)
async def test_workers_serve_while_the_main_process_is_stopped_and_end_with_it(
    tmp_path: Path,
) -> None:
    config = make_config(tmp_path, workers=2)
    async with server.running(config) as running:
        path = mount_path(running)
    async with standalone(tmp_path, config) as main:
        clients = [await connected(config.nfs.port, source) for source in ADDRESSES]
        for client in clients:
            assert await asyncio.to_thread(client.mount, path)
        workers = children(main.pid)
        main.send(signal.SIGSTOP)
        quiet = time.monotonic() + (nfs_workers.DEAD + 1) * nfs_workers.BEAT
        while time.monotonic() < quiet:
            for client in clients:
                await asyncio.to_thread(client.ask, *NULL)
            await asyncio.sleep(0.2)
        main.send(signal.SIGCONT)
        another = await asyncio.to_thread(NfsClient, config.nfs.port, source="127.0.0.9")
        assert await asyncio.to_thread(another.mount, path)
        assert children(main.pid) == workers, "they were late because the main process was"
        # One of them is stopped when the main process dies, and must not stay for ever.
        os.kill(min(workers), signal.SIGSTOP)
        main.send(signal.SIGKILL)
        await main.wait()
        async with asyncio.timeout(STALL):
            while any(_runs(pid) for pid in workers):  # noqa: ASYNC110
                await asyncio.sleep(0.05)
        with pytest.raises(ConnectionRefusedError):
            socket.create_connection(("127.0.0.1", config.nfs.port))
        for client in (*clients, another):
            client.socket.close()


def _runs(pid: int) -> bool:
    """Also a process that is dead and waited for by nobody has a directory."""
    try:
        state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except (FileNotFoundError, ProcessLookupError):
        return False
    return state != "Z"


async def test_the_default_threads_are_not_needed_for_a_first_read(tmp_path: Path) -> None:
    """Others fill them with waiting, as for the lock of a garbage collection."""
    async with server.running(make_config(tmp_path)) as running:
        loop, gate = asyncio.get_running_loop(), threading.Event()
        waiting = [asyncio.ensure_future(asyncio.to_thread(gate.wait, 60)) for _ in range(200)]
        with ThreadPoolExecutor(1) as own:
            try:
                reading = loop.run_in_executor(own, read_tool, running)
                assert await asyncio.wait_for(reading, STALL)
            finally:
                gate.set()
                await asyncio.gather(*waiting)
