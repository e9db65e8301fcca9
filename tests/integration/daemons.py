"""`storeboot serve` in a process of its own, and a machine that asks it and is not patient."""

from __future__ import annotations

import asyncio
import json
import socket
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import aiohttp

from integration.deploying import STOREBOOT, Machine
from integration.nfs_client import NFS, NfsClient
from storeboot.config import Config
from storeboot.nfs.views import view_id
from storeboot.nix.store import StorePath
from storeboot.process import Child, run

START_SECONDS = 60
PATIENCE = 8.0  # seconds: an agent's are 5, iPXE's and the initrd's at least 10


@dataclass
class Served:
    """A server's process, and how it is asked."""

    child: Child
    config: Config
    path: Path
    output: Path
    http: aiohttp.ClientSession
    waited: float = 0.0  # seconds, for all answers
    _machines: dict[str, Machine] = field(default_factory=dict)

    async def get(self, url: str, **options: Any) -> tuple[int, bytes]:
        return await self._ask(self.http.get, url, **options)

    async def post(self, url: str, **options: Any) -> tuple[int, bytes]:
        return await self._ask(self.http.post, url, **options)

    async def _ask(self, method: Callable[..., Any], url: str, **options: Any) -> tuple[int, bytes]:
        began = time.monotonic()
        async with asyncio.timeout(PATIENCE), method(url, **options) as response:
            found = response.status, await response.read()
        self.waited += time.monotonic() - began
        return found

    async def script(self, mac: str) -> str:
        status, body = await self.get("/boot", params={"mac": mac})
        assert status == 200, f"GET /boot: {status}"
        return body.decode()

    async def boot(self, host: str, mac: str, system: StorePath, nonce: str) -> dict[str, str]:
        """All that a machine asks from its script to multi-user; what its POST was answered."""
        assert f"init={system}/init" in await self.script(mac)
        view = view_id([system.text]).hex()
        for name in ("kernel", "initrd"):
            status, body = await self.get(f"/views/{view}/{name}", params={"host": host})
            assert (status, bool(body)) == (200, True), f"GET {name}: {status}"
        answer = await self.begin(host, mac, system, nonce)
        for stage in ("begin", "mount"):
            await self.tell(answer, "events", stage=stage, uptime="1.5")
        status, _ = await self.get(f"/boots/{answer['boot']}/ssh-host-key", headers=_key(answer))
        assert status == 200, f"GET ssh-host-key: {status}"
        await self.tell(answer, "heartbeat")
        await self.tell(answer, "events", stage="multi-user", source="agent")
        return answer

    async def begin(self, host: str, mac: str, system: StorePath, nonce: str) -> dict[str, str]:
        status, body = await self.post("/boots", data=request_of(host, mac, system, nonce))
        assert status == 200, f"POST /boots: {status} {body!r}"
        return dict(line.split("=", 1) for line in body.decode().splitlines())

    async def tell(self, answer: dict[str, str], what: str, **query: str) -> bytes:
        url = f"/boots/{answer['boot']}/{what}"
        status, body = await self.post(url, params=query, data=b"", headers=_key(answer))
        assert status == 200, f"POST {what}: {status}"
        return body

    async def health(self) -> dict[str, Any]:
        status, body = await self.get("/health")
        assert status == 200
        found: dict[str, Any] = json.loads(body)
        return found

    async def is_well(self) -> bool:
        """Whether the database is there and nothing waits for it."""
        found = await self.health()
        return found["database"] is None and not found["waiting"]

    async def answers_nfs(self, source: str = "127.0.0.1") -> None:
        def ask() -> None:
            with NfsClient(self.config.nfs.port, source=source) as client:
                client.ask(NFS, 3, 0, b"")

        async with asyncio.timeout(PATIENCE):
            await asyncio.to_thread(ask)

    async def command(self, *words: object) -> str:
        return await asyncio.to_thread(storeboot, self.path, *words)


def storeboot(path: Path, *words: object) -> str:
    return run([STOREBOOT, *map(str, words), "--config", path], seconds=120)


def request_of(host: str, mac: str, system: StorePath, nonce: str) -> str:
    view = view_id([system.text]).hex()
    return f"host={host}\nview={view}\nmac={mac}\nnonce={nonce * 32}\nuptime=2\nstage=network 1\n"


def _key(answer: dict[str, str]) -> dict[str, str]:
    return {"Authorization": f"Bearer {answer['key']}"}


@asynccontextmanager
async def serving(config: Config, path: Path, *prefix: object) -> AsyncIterator[Served]:
    """A server that answers over HTTP; `prefix` are words before the command's."""
    output = path.with_name("output")
    child = await Child.start([*map(str, prefix), STOREBOOT, "serve", "-c", path], output=output)
    url = f"http://127.0.0.1:{config.http.port}"
    try:
        async with aiohttp.ClientSession(url) as http:
            made = Served(child, config, path, output, http)
            await until(lambda: _listens(child, output, config.http.port), START_SECONDS)
            yield made
    finally:
        await child.stop()


async def _listens(child: Child, output: Path, port: int) -> bool:
    assert child.status is None, f"serve has ended: see {output}"
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0


async def until(condition: Callable[[], Awaitable[bool]], seconds: float = 30) -> None:
    """Wait for something that nobody tells of."""
    async with asyncio.timeout(seconds):
        while not await condition():  # noqa: ASYNC110
            await asyncio.sleep(0.1)
