"""The NFS port of `storeboot serve` as users run it: workers, given sockets, the alias."""

from __future__ import annotations

import asyncio
import os
import resource
import signal
import socket
import sys
import threading
from collections.abc import AsyncIterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager, suppress
from pathlib import Path

import pytest
from structlog.testing import capture_logs

from integration.nfs_client import NFS, NfsClient
from integration.servers import MAC, as_toml, make_config
from nfs_codec import call, marked, opaque
from storeboot.config import Config, HostSection, NfsSection
from storeboot.deploy.inventory import make_inventory, opened
from storeboot.deploy.state import make_state_directory
from storeboot.hosts.database import Database, database_url
from storeboot.hosts.memory import Memory
from storeboot.nfs.handle import HandleCodec, MountToken
from storeboot.nfs.refusal import Refusal
from storeboot.nfs.status import Status
from storeboot.nfs.views import flat_name, view_id
from storeboot.nfs.xdr import FileSlice
from storeboot.process import Child
from storeboot.serve import server
from storeboot.serve.nfs import file_data
from storeboot.serve.nfs import workers as nfs_workers
from storeboot.serve.nfs.service import NfsService
from storeboot.serve.nfs.workers import NfsWorkers
from storeboot.service.alias import alias_of

STOREBOOT = Path(sys.executable).with_name("storeboot")


def mount_path(running: server.Server) -> str:
    (assignment,) = running.service.inventory.systems.ready.values()
    token = MountToken(bytes.fromhex(assignment.view.view_id), bytes(8))
    return f"/view/{HandleCodec(running.service.key).encode_token(token)}"


def top(running: server.Server) -> bytes:
    (assignment,) = running.service.inventory.systems.ready.values()
    return assignment.system.toplevel.base_name.encode()


def read_tool(running: server.Server, source: str = "127.0.0.1") -> bytes:
    with NfsClient(running.service.config.nfs.port, source=source) as client:
        handle = client.mount(mount_path(running))
        for name in (top(running), b"bin", b"tool"):
            assert handle is not None
            handle = client.lookup(handle, name)
        assert handle is not None
        return client.read(handle)


@asynccontextmanager
async def serving(
    directory: Path, workers: int = 2
) -> AsyncIterator[tuple[server.Server, NfsWorkers]]:
    async with server.running(make_config(directory, workers)) as running:
        backend = running.nfs.backend
        assert isinstance(backend, NfsWorkers)
        await all_answer(backend)
        yield running, backend


async def all_answer(backend: NfsWorkers) -> None:
    """Wait until every worker serves: the others get all machines while one still starts."""
    async with asyncio.timeout(60):
        while not all(worker.answered for worker in backend._workers):  # noqa: ASYNC110
            await asyncio.sleep(0.02)


async def until(backend: NfsWorkers, count: int, *, without: int) -> None:
    """Wait until there are so many workers, and one not among them."""
    while len(backend.pids) != count or without in backend.pids:
        backend.changed.clear()
        await backend.changed.wait()


async def test_what_each_address_has_read_is_told_once(tmp_path: Path) -> None:
    async with serving(tmp_path) as (running, backend):
        for source in ("127.0.0.1", "127.0.0.2"):
            await asyncio.to_thread(read_tool, running, source)
        tool = top(running) + b"/bin/tool"
        assert await backend.reads("127.0.0.1") == {tool}
        assert await backend.reads("127.0.0.1") == set()
        assert await backend.reads("127.0.0.2") == {tool}
        assert await backend.reads("127.0.0.3") == set()
        assert not list((tmp_path / "state").glob("reads-*"))


async def test_workers_answer_and_their_calls_are_counted(tmp_path: Path) -> None:
    async with serving(tmp_path) as (running, backend):
        for source in ("127.0.0.1", "127.0.0.2", "127.0.0.3"):
            assert await asyncio.to_thread(read_tool, running, source) == b"#!/bin/sh\necho tool\n"
        assert (await backend.calls())[NFS, 3, 6] == 3


async def test_connections_of_one_address_meet_in_one_worker(tmp_path: Path) -> None:
    async with serving(tmp_path) as (running, backend):
        port = running.service.config.nfs.port
        sources = ["127.0.0.2", "127.0.0.3"]
        clients = [
            await asyncio.to_thread(NfsClient, port, source=source) for source in sources * 4
        ]
        for client in clients:
            await asyncio.to_thread(client.ask, NFS, 3, 0, b"")
        spread = sorted((dict(worker.addresses) for worker in backend._workers), key=str)
        assert spread == [{"127.0.0.2": 4}, {"127.0.0.3": 4}]
        for client in clients:
            client.socket.close()


async def test_a_killed_worker_is_replaced_and_the_other_goes_on(tmp_path: Path) -> None:
    async with serving(tmp_path) as (running, backend):
        port = running.service.config.nfs.port
        first, second = [
            await asyncio.to_thread(NfsClient, port, source=source)
            for source in ("127.0.0.2", "127.0.0.3")
        ]
        for client in (first, second):
            await asyncio.to_thread(client.ask, NFS, 3, 0, b"")
        victim = next(each for each in backend._workers if "127.0.0.2" in each.addresses)
        os.kill(victim.child.pid, signal.SIGKILL)
        with pytest.raises(ConnectionError):
            await asyncio.to_thread(first.ask, NFS, 3, 0, b"")
        await asyncio.to_thread(second.ask, NFS, 3, 0, b"")
        await until(backend, 2, without=victim.child.pid)
        assert await asyncio.to_thread(read_tool, running, "127.0.0.2")
        first.socket.close()
        second.socket.close()


async def test_a_connection_waits_while_there_is_no_worker(tmp_path: Path) -> None:
    async with serving(tmp_path, workers=1) as (running, backend):
        (pid,) = backend.pids
        os.kill(pid, signal.SIGKILL)
        await until(backend, 0, without=pid)
        assert await asyncio.to_thread(read_tool, running)
        assert pid not in backend.pids


async def test_a_socket_that_was_given_outlives_the_server(tmp_path: Path) -> None:
    """While nobody serves it, clients connect and wait; the next server answers them."""
    config = make_config(tmp_path)
    with socket.create_server(("127.0.0.1", config.nfs.port)) as kept:
        async with server.running(config, given={"nfs": [kept.dup()]}) as running:
            path = mount_path(running)
            assert await asyncio.to_thread(read_tool, running)
        with await asyncio.to_thread(NfsClient, config.nfs.port) as client:
            waiting = asyncio.create_task(asyncio.to_thread(client.mount, path))
            await asyncio.sleep(0)
            assert not waiting.done()
            async with server.running(config, given={"nfs": [kept.dup()]}):
                assert await waiting is not None


async def test_sockets_of_systemd_are_taken(tmp_path: Path) -> None:
    """As sd_listen_fds(3) hands them over: descriptor 3 and three variables."""
    config = make_config(tmp_path)
    file = tmp_path / "storeboot.toml"
    file.write_text(as_toml(config))
    with socket.create_server(("127.0.0.1", 0)) as kept:
        command = f'LISTEN_PID=$$ LISTEN_FDS=1 LISTEN_FDNAMES=nfs exec "$@" 3<&{kept.fileno()}'
        child = await Child.start(
            ["bash", "-c", command, "bash", STOREBOOT, "serve", "--config", file],
            output=tmp_path / "log",
            pass_fds=(kept.fileno(),),
        )
        try:
            with await asyncio.to_thread(NfsClient, int(kept.getsockname()[1])) as client:
                await asyncio.to_thread(client.ask, NFS, 3, 0, b"")
            with pytest.raises(ConnectionRefusedError):
                await asyncio.to_thread(NfsClient, config.nfs.port)
        finally:
            await child.stop()


def with_alias(config: Config, address: str) -> Config:
    host = HostSection(system=config.hosts["lab1"].system, mac=(MAC,), address=(address,))
    nfs = NfsSection(
        listen="127.0.0.1", port=config.nfs.port, workers=config.nfs.workers, alias=True
    )
    return config.model_copy(update={"nfs": nfs, "hosts": {"lab1": host}})


@pytest.mark.parametrize("workers", [0, 1])
async def test_alias_is_for_the_hosts_own_address(tmp_path: Path, workers: int) -> None:
    config = with_alias(make_config(tmp_path, workers), "127.0.0.9")
    with socket.create_server(("127.0.0.1", 0)) as second:
        port = int(second.getsockname()[1])
        async with server.running(config, given={"alias": [second.dup()]}) as running:
            for each in (port, config.nfs.port):
                with await asyncio.to_thread(NfsClient, each, source="127.0.0.9") as client:
                    handle = await asyncio.to_thread(client.mount, "/nixstore")
                    assert handle is not None
                    assert await asyncio.to_thread(client.lookup, handle, top(running))
                with await asyncio.to_thread(NfsClient, each, source="127.0.0.8") as client:
                    assert await asyncio.to_thread(client.mount, "/nixstore") is None


def test_alias_is_known_before_systems_are_assigned(tmp_path: Path) -> None:
    """A machine may come back while the server still starts."""
    config = with_alias(make_config(tmp_path), "127.0.0.9")
    with opened(config) as inventory:
        assert alias_of(inventory, "127.0.0.9") == view_id([str(config.hosts["lab1"].system)])
        assert alias_of(inventory, "127.0.0.8") is Refusal.NO_HOST


def test_alias_is_for_added_hosts_too(tmp_path: Path) -> None:
    """As the server remembers them, which asks no database for a connection."""
    config = with_alias(make_config(tmp_path), "127.0.0.9")
    system = config.hosts["lab1"].system
    added = HostSection(system=system, mac=("52:54:00:00:00:07",), address=("127.0.0.7",))
    make_state_directory(config.server.state_directory)
    database = Database(database_url(config), memory=Memory())
    assert database.probe()
    inventory = make_inventory(config, database)
    assert alias_of(inventory, "127.0.0.7") is Refusal.NO_HOST
    inventory.registry.add_all({"lab7": added}, 0)
    for reason in ("", "it is tried"):
        if reason:
            database.lost(reason)
        assert alias_of(inventory, "127.0.0.7") == view_id([str(system)])
    database.dispose()


@pytest.mark.skipif(not socket.has_dualstack_ipv6(), reason="this machine has no IPv6")
async def test_a_given_socket_may_be_one_for_ipv6_as_well(tmp_path: Path) -> None:
    """As a bare ListenStream=2049 makes it; addresses of IPv4 are told in another way there."""
    config = with_alias(make_config(tmp_path), "127.0.0.9")
    with socket.create_server(("", 0), family=socket.AF_INET6, dualstack_ipv6=True) as both:
        async with server.running(config, given={"nfs": [both.dup()]}):
            port = int(both.getsockname()[1])
            with await asyncio.to_thread(NfsClient, port, source="127.0.0.9") as client:
                assert await asyncio.to_thread(client.mount, "/nixstore") is not None


async def test_a_worker_without_room_for_a_connection_gives_it_back(tmp_path: Path) -> None:
    """Its descriptors are used up: the peer is closed and not counted, and may come again."""
    async with serving(tmp_path, workers=1) as (running, backend):
        port, (pid,) = running.service.config.nfs.port, backend.pids
        assert await asyncio.to_thread(read_tool, running)
        limits = resource.prlimit(pid, resource.RLIMIT_NOFILE)
        resource.prlimit(pid, resource.RLIMIT_NOFILE, (4, limits[1]))
        client = await asyncio.to_thread(NfsClient, port, source="127.0.0.2")
        with client, pytest.raises(ConnectionError):
            await asyncio.to_thread(client.ask, NFS, 3, 0, b"")
        await backend.calls()  # answered behind what the worker had to say before
        assert not backend._workers[0].addresses["127.0.0.2"]
        resource.prlimit(pid, resource.RLIMIT_NOFILE, limits)
        assert await asyncio.to_thread(read_tool, running, "127.0.0.2")


async def test_every_file_has_a_flat_name(tmp_path: Path) -> None:
    async with server.running(make_config(tmp_path)) as running:
        with await asyncio.to_thread(NfsClient, running.service.config.nfs.port) as client:
            root = await asyncio.to_thread(client.mount, mount_path(running))
            assert root is not None
            flat = await asyncio.to_thread(client.lookup, root, b".flat")
            assert flat is not None
            name = flat_name(top(running), b"bin/tool")
            file = await asyncio.to_thread(client.lookup, flat, name)
            assert file is not None
            assert await asyncio.to_thread(client.read, file) == b"#!/bin/sh\necho tool\n"
            other = flat_name(top(running), b"bin")
            assert await asyncio.to_thread(client.lookup, flat, other) is None
            assert await asyncio.to_thread(client.lookup, flat, name.upper()) is None


async def test_a_peer_that_has_all_its_replies_is_not_waited_for(tmp_path: Path) -> None:
    """Whatever the sizes: reads whose data ends on a multiple of four, and others."""
    async with server.running(make_config(tmp_path)) as running:
        backend = running.nfs.backend
        assert isinstance(backend, NfsService)
        with await asyncio.to_thread(NfsClient, running.service.config.nfs.port) as client:
            handle = await tool_handle(client, running)
            for count in range(1, 12):
                assert len(await asyncio.to_thread(client.read, handle, 0, count)) == count
                (connection,) = backend.connections
                assert connection.overdue(asyncio.get_running_loop().time() + 1000) is None


async def tool_handle(client: NfsClient, running: server.Server) -> bytes:
    handle = await asyncio.to_thread(client.mount, mount_path(running))
    for name in (top(running), b"bin", b"tool"):
        assert handle is not None
        handle = await asyncio.to_thread(client.lookup, handle, name)
    assert handle is not None
    return handle


async def test_a_file_that_is_gone_is_an_error_and_not_a_loop(tmp_path: Path) -> None:
    """READ says IO, on the same connection, and the log has it once."""
    async with server.running(make_config(tmp_path)) as running:
        with await asyncio.to_thread(NfsClient, running.service.config.nfs.port) as client:
            handle = await tool_handle(client, running)
            store = running.service.inventory.systems.store.directory / os.fsdecode(top(running))
            (store / "bin").chmod(0o755)
            (store / "bin" / "tool").unlink()
            arguments = opaque(handle) + bytes(8) + (100).to_bytes(4)
            with capture_logs() as told:
                for _ in range(3):
                    reply = await asyncio.to_thread(client.ask, NFS, 3, 6, arguments)
                    assert reply.uint32() == Status.IO
            assert [each["event"] for each in told] == ["nfs.unreadable"]
            assert await asyncio.to_thread(client.mount, mount_path(running))


async def test_a_connection_that_ends_while_the_disk_is_read_leaves_nothing_open(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Every thread busy, more calls than threads, and then nobody wants the answers any more."""
    gate = threading.Event()
    read_through = file_data._read_through

    def held(descriptor: int, data: FileSlice) -> None:
        gate.wait(20)
        read_through(descriptor, data)

    readers = ThreadPoolExecutor(2)
    monkeypatch.setattr(file_data, "_readers", readers)
    monkeypatch.setattr(file_data, "_read_through", held)
    monkeypatch.setattr(os, "preadv", lambda *_arguments: -1)
    async with server.running(make_config(tmp_path)) as running:
        backend = running.nfs.backend
        assert isinstance(backend, NfsService)
        port = running.service.config.nfs.port
        with await asyncio.to_thread(NfsClient, port) as client:
            handle = await tool_handle(client, running)
        arguments = opaque(handle) + bytes(8) + (100).to_bytes(4)
        record = call(NFS, 3, 6, arguments)
        crowd = [await asyncio.to_thread(NfsClient, port) for _ in range(20)]
        for each in crowd:
            each.socket.sendall(marked(record))
        while sum(each._fetch is not None for each in backend.connections) < len(crowd):  # noqa: ASYNC110
            await asyncio.sleep(0.01)
        await running.nfs.stop()
        gate.set()
        await asyncio.to_thread(readers.shutdown, wait=True)
        assert not [name for name in _open_files() if name.endswith("/bin/tool")]
        for each in crowd:
            each.socket.close()


def _open_files() -> list[str]:
    """Of this process."""
    names = []
    for link in Path("/proc/self/fd").iterdir():
        with suppress(FileNotFoundError):  # the one that lists them
            names.append(str(link.readlink()))
    return names


async def test_a_worker_that_cannot_be_started_is_tried_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(nfs_workers, "PAUSE", 0.05)
    start, failed = Child.start, asyncio.Event()

    async def refuse(*_arguments: object, **_options: object) -> Child:
        if failed.is_set():
            monkeypatch.setattr(Child, "start", start)
        failed.set()
        raise OSError("Resource temporarily unavailable")

    async with serving(tmp_path, workers=1) as (running, backend):
        (pid,) = backend.pids
        monkeypatch.setattr(Child, "start", refuse)
        os.kill(pid, signal.SIGKILL)
        await failed.wait()
        await until(backend, 1, without=pid)
        assert await asyncio.to_thread(read_tool, running)


async def test_more_connections_at_once_than_the_channel_holds(tmp_path: Path) -> None:
    """While the only worker is stopped, its connections wait; none is dropped."""
    async with serving(tmp_path, workers=1) as (running, backend):
        port, (pid,) = running.service.config.nfs.port, backend.pids
        assert await asyncio.to_thread(read_tool, running)
        os.kill(pid, signal.SIGSTOP)
        sources = [f"127.0.2.{number}" for number in range(1, 21)] * 20
        crowd = [await asyncio.to_thread(NfsClient, port, source=source) for source in sources]
        while not backend._workers[0].channel.waiting:  # noqa: ASYNC110
            await asyncio.sleep(0.01)
        os.kill(pid, signal.SIGCONT)
        for each in (crowd[0], crowd[-1]):
            await asyncio.to_thread(each.ask, NFS, 3, 0, b"")
        for each in crowd:
            each.socket.close()
