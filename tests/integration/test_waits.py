"""Boots that wait for a lock keep nobody else waiting, and do not wait for ever."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path

import aiohttp
import pytest

from integration.daemons import request_of
from integration.deploying import make_system
from integration.nfs_client import NfsClient
from integration.servers import MAC, make_config
from storeboot.config import Config
from storeboot.deploy.inventory import opened
from storeboot.nfs.handle import HandleCodec, MountToken
from storeboot.nfs.views import view_id
from storeboot.nix.store import StorePath
from storeboot.serve import server

AT_ONCE = 12


@dataclass
class Room:
    config: Config
    one: StorePath  # an older generation
    two: StorePath  # what lab1 boots
    running: server.Server

    def read(self) -> bytes:
        """The first read of a file of a store path that nobody has read before."""
        view = view_id([self.two.text])
        token = HandleCodec(self.running.service.key).encode_token(MountToken(view, bytes(8)))
        with NfsClient(self.config.nfs.port) as client:
            handle = client.mount(f"/view/{token}")
            for name in (self.two.base_name, "init"):
                assert handle is not None
                handle = client.lookup(handle, name.encode())
            assert handle is not None
            return client.read(handle)


@pytest.fixture
async def room(tmp_path: Path) -> AsyncIterator[Room]:
    config = make_config(tmp_path)
    one = StorePath(str(config.hosts["lab1"].system))
    two = make_system(config, tmp_path, 2)
    async with server.running(config) as running:
        with opened(config) as inventory:
            host = inventory.registry.require("lab1")
            await asyncio.to_thread(
                inventory.deployments.deploy, host, two, inventory.url, lambda _text: None
            )
        yield Room(config, one, two, running)


async def test_a_garbage_collection_delays_neither_kernels_nor_the_store(room: Room) -> None:
    service = room.running.service
    view = view_id([room.two.text]).hex()
    async with aiohttp.ClientSession(service.url) as http:

        async def begin(number: int, system: StorePath) -> tuple[int, str | None]:
            body = request_of("lab1", MAC, system, f"{number:x}")
            async with http.post("/boots", data=body) as response:
                return response.status, response.reason

        async with http.get("/boot", params={"mac": MAC}) as response:
            assert f"init={room.two}/init" in await response.text()
        with service.state.locks.roots(alone=True):
            waiting = [asyncio.create_task(begin(number, room.two)) for number in range(AT_ONCE)]
            waiting.append(asyncio.create_task(begin(AT_ONCE, room.one)))
            await asyncio.sleep(0.5)  # until they hold whatever they hold while they wait
            async with asyncio.timeout(20):
                async with http.get(f"/views/{view}/kernel", params={"host": "lab1"}) as response:
                    assert len(await response.read()) == 16384
                assert await asyncio.to_thread(room.read) == b"#!/bin/sh\n"
            async with asyncio.timeout(40):
                *current, older = await asyncio.gather(*waiting)
        assert {status for status, _ in current} == {200}, "what the host boots anyway is kept"
        assert older[0] == 503, "the machine may ask again"
        assert "locked" in str(older[1])
        assert (await begin(AT_ONCE, room.one))[0] == 200


async def test_a_boot_waits_for_no_worker(room: Room, monkeypatch: pytest.MonkeyPatch) -> None:
    """One that is stopped never says what an address has read."""

    async def never(_address: str) -> set[bytes]:
        await asyncio.Event().wait()
        return set()

    monkeypatch.setattr(room.running.nfs.backend, "reads", never)
    async with asyncio.timeout(5), aiohttp.ClientSession(room.running.service.url) as http:
        body = request_of("lab1", MAC, room.two, "a")
        async with http.post("/boots", data=body) as response:
            assert response.status == 200
