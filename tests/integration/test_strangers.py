"""Peers that belong to no boot: however many, they take nothing that a machine needs."""

from __future__ import annotations

import asyncio
import os
import resource
import socket
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import ExitStack, asynccontextmanager, closing, contextmanager
from pathlib import Path

import aiohttp
import pytest
from structlog.testing import capture_logs

from integration.nfs_client import NFS, NfsClient
from integration.servers import as_toml, make_config
from integration.test_nfs_workers import STOREBOOT, mount_path, read_tool, serving, tool_handle
from nfs_codec import call, marked
from storeboot.config import Config
from storeboot.process import Child
from storeboot.serve import server
from storeboot.serve.nfs import service as nfs_service

NULL = marked(call(NFS, 3, 0))


@contextmanager
def crowd(port: int, addresses: list[str], each: int, first: bytes = NULL) -> Iterator[None]:
    """So many connections from each address, all of which have said something."""
    with ExitStack() as stack:
        for source in addresses * each:
            one = stack.enter_context(
                closing(socket.create_connection(("127.0.0.1", port), 20, (source, 0)))
            )
            try:
                one.sendall(first)
            except ConnectionError:  # it was closed for another one already
                continue
        yield


ADDRESSES = [f"127.0.1.{number}" for number in range(1, 9)]


@pytest.mark.parametrize("workers", [0, 2])
@pytest.mark.timeout(120)
async def test_strangers_neither_displace_nor_refuse_a_machine(
    tmp_path: Path, workers: int
) -> None:
    """Eight addresses with 512 connections each, as many as the server ever has."""
    async with server.running(make_config(tmp_path, workers)) as running:
        port = running.service.config.nfs.port
        with await asyncio.to_thread(NfsClient, port) as early:
            handle = await tool_handle(early, running)
            gathered = ExitStack()
            try:
                await asyncio.to_thread(gathered.enter_context, crowd(port, ADDRESSES, 512))
                assert await asyncio.to_thread(read_tool, running, "127.0.0.2")
                assert await asyncio.to_thread(early.read, handle)
            finally:
                gathered.close()


@pytest.mark.timeout(120)
async def test_silent_strangers_are_few_and_said_once(tmp_path: Path) -> None:
    async with server.running(make_config(tmp_path)) as running:
        port = running.service.config.nfs.port
        gathered = ExitStack()
        with capture_logs() as told:
            await asyncio.to_thread(gathered.enter_context, crowd(port, ["127.0.0.3"], 300, b""))
            assert await asyncio.to_thread(read_tool, running, "127.0.0.3")
        gathered.close()
        assert [each["peer"] for each in told if "too_many" in each["event"]] == ["127.0.0.3"]


async def test_a_connection_that_shows_nothing_ends_and_a_machines_stays(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(nfs_service, "STRANGER", 1.0)
    monkeypatch.setattr(nfs_service, "SWEEP", 0.1)
    async with server.running(make_config(tmp_path)) as running:
        port = running.service.config.nfs.port
        with (
            await asyncio.to_thread(NfsClient, port) as machine,
            await asyncio.to_thread(NfsClient, port) as stranger,
        ):
            handle = await tool_handle(machine, running)
            await asyncio.to_thread(stranger.ask, NFS, 3, 0, b"")
            # However much it says meanwhile.
            with pytest.raises(ConnectionError):
                await asyncio.to_thread(ask_without_end, stranger)
            assert await asyncio.to_thread(machine.read, handle)


def ask_without_end(client: NfsClient) -> None:
    while True:
        client.ask(NFS, 3, 0, b"")
        time.sleep(0.05)


@asynccontextmanager
async def limited(directory: Path, config: Config, descriptors: int) -> AsyncIterator[Child]:
    """`storeboot serve` that may have so many descriptors in each of its processes."""
    file = directory / "storeboot.toml"
    file.write_text(as_toml(config))
    command = f'ulimit -n {descriptors}; exec "$@"'
    words: list[str | Path] = ["bash", "-c", command, "bash", STOREBOOT, "serve", "--config", file]
    child = await Child.start(words, output=directory / "log")
    try:
        yield child
    finally:
        await child.stop()


async def until_ready(config: Config) -> None:
    url = f"http://127.0.0.1:{config.http.port}/boot.ipxe"
    async with aiohttp.ClientSession() as session:
        while True:
            try:
                async with session.get(url) as response:
                    if response.status == 200:
                        return
            except aiohttp.ClientError:
                await asyncio.sleep(0.1)


@pytest.mark.timeout(120)
async def test_sixty_four_descriptors_are_enough_for_a_machine(tmp_path: Path) -> None:
    """Strangers over HTTP take all that the main process has, and more ask for NFS."""
    config = make_config(tmp_path, workers=2)
    async with server.running(config) as running:
        path = mount_path(running)
    async with limited(tmp_path, config, 64):
        await until_ready(config)
        gathered = ExitStack()
        try:
            await asyncio.to_thread(
                gathered.enter_context, crowd(config.http.port, ["127.0.0.4"], 100, b"GET ")
            )
            await asyncio.to_thread(gathered.enter_context, crowd(config.nfs.port, ADDRESSES, 40))
            for number in range(1, 9):
                source = f"127.0.3.{number}"
                with await asyncio.to_thread(NfsClient, config.nfs.port, source=source) as machine:
                    assert await asyncio.to_thread(machine.mount, path)
        finally:
            gathered.close()


async def test_want_of_descriptors_in_a_worker_closes_files_before_it_refuses(
    tmp_path: Path,
) -> None:
    """Files that were read before are closed for one that is read now."""
    async with serving(tmp_path, workers=1) as (running, backend):
        (pid,) = backend.pids
        with await asyncio.to_thread(NfsClient, running.service.config.nfs.port) as client:
            root = await asyncio.to_thread(client.mount, mount_path(running))
            assert root is not None
            system = await asyncio.to_thread(client.lookup, root, running_top(running))
            assert system is not None
            names = (b"kernel", b"kernel-params", b"init")
            found = [await asyncio.to_thread(client.lookup, system, name) for name in names]
            handles = [handle for handle in found if handle is not None]
            for handle in (*handles[:-1], await tool_handle(client, running)):
                assert await asyncio.to_thread(client.read, handle)
            most = max(map(int, os.listdir(f"/proc/{pid}/fd")))  # noqa: PTH208 (it is short)
            limits = resource.prlimit(pid, resource.RLIMIT_NOFILE)
            resource.prlimit(pid, resource.RLIMIT_NOFILE, (most + 1, limits[1]))
            others = await asyncio.to_thread(fill, running.service.config.nfs.port)
            assert await asyncio.to_thread(client.read, handles[-1]) == b"#!/bin/sh\n"
            resource.prlimit(pid, resource.RLIMIT_NOFILE, limits)
            for each in others:
                each.socket.close()


def fill(port: int) -> list[NfsClient]:
    """Connections until the server has no descriptor for another one."""
    made: list[NfsClient] = []
    while True:
        made.append(NfsClient(port, source=f"127.0.2.{len(made) + 1}"))
        try:
            made[-1].ask(NFS, 3, 0, b"")
        except ConnectionError:
            return made


def running_top(running: server.Server) -> bytes:
    (assignment,) = running.service.inventory.systems.ready.values()
    return os.fsencode(assignment.system.toplevel.base_name)
