"""A server whose host mounts through the alias, and what machines ask it on their way there."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import aiohttp

from integration.deploying import Machine, storeboot
from integration.nfs_client import NfsClient
from storeboot import config as configuration
from storeboot.nfs.views import view_id
from storeboot.nix.store import StorePath
from storeboot.serve import server

OWN, OTHER = "127.0.0.9", "127.0.0.8"


class Room:
    """A server, its commands, and machines that boot from it."""

    def __init__(self, path: Path, running: server.Server) -> None:
        self.path = path
        self.running = running

    async def run(self, *words: object) -> str:
        return await asyncio.to_thread(storeboot, self.path, *words)

    async def script(self, address: str = OWN, **said: str) -> str:
        """Ask for a script from an address; return the system that it boots."""
        async with asking(self.running, address) as http:
            text = await Machine(http).script(**said)
        return text.partition("init=")[2].partition("/init ")[0]

    async def initrd(self, system: StorePath, address: str = OWN) -> None:
        async with asking(self.running, address) as http:
            url = f"/views/{view_id([system.text]).hex()}/initrd"
            async with http.get(url, params={"host": "lab1"}) as response:
                assert response.status == 200
                await response.read()

    async def shows(self) -> str:
        """Return the system in what a machine with the host's address mounts."""
        return await asyncio.to_thread(self._mount)

    def _mount(self) -> str:
        port = self.running.service.config.nfs.port
        with NfsClient(port, source=OWN) as client:
            root = client.mount("/nixstore")
            assert root is not None
            generations = self.running.service.inventory.deployments.generations("lab1")
            names = {each.system.base_name: each.system.text for each in generations}
            found = {name for name in names if client.lookup(root, name.encode()) is not None}
        assert len(found) == 1
        return names[found.pop()]


@asynccontextmanager
async def asking(running: server.Server, address: str) -> AsyncIterator[aiohttp.ClientSession]:
    connector = aiohttp.TCPConnector(local_addr=(address, 0))
    async with aiohttp.ClientSession(running.service.url, connector=connector) as http:
        yield http


@asynccontextmanager
async def serving(path: Path) -> AsyncIterator[Room]:
    """The alias has a port of its own besides NFS' one, here any that is free."""
    with socket.create_server(("127.0.0.1", 0)) as alias:
        given = {"alias": [alias.dup()]}
        async with server.running(configuration.load(path), given=given) as running:
            yield Room(path, running)
