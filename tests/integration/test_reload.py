"""`storeboot serve` told to read its configuration again, under clients that go on."""

from __future__ import annotations

import asyncio
import os
import signal
import socket
import sys
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

import aiohttp
import pytest

from integration.nfs_client import NFS, NfsClient
from integration.servers import MAC, as_toml, make_config
from storeboot.config import Config, ServerSection
from storeboot.process import Child
from storeboot.serve.reload import merged

STOREBOOT = Path(sys.executable).with_name("storeboot")
OTHER = "52:54:00:00:00:02"


@dataclass
class Daemon:
    """A server in its own process, and what it tells systemd."""

    child: Child
    config: Config
    file: Path
    notices: socket.socket
    output: Path

    async def told(self, wanted: Callable[[str], bool]) -> None:
        """Wait for a notice."""
        loop = asyncio.get_running_loop()
        async with asyncio.timeout(60):
            while not wanted((await loop.sock_recv(self.notices, 4096)).decode()):
                pass

    async def reload(self, text: str) -> None:
        self.file.write_text(text)
        os.kill(self.child.pid, signal.SIGHUP)
        await self.told(lambda words: words.startswith("RELOADING=1\nMONOTONIC_USEC="))
        await self.told(lambda words: words.startswith("READY=1\nSTATUS="))

    async def script(self, mac: str) -> str:
        url = f"http://127.0.0.1:{self.config.http.port}/boot?mac={mac}"
        async with aiohttp.ClientSession() as session, session.get(url) as answer:
            return await answer.text()


@asynccontextmanager
async def daemon(directory: Path, **environment: str) -> AsyncIterator[Daemon]:
    config = make_config(directory, workers=1)
    file, output = directory / "storeboot.toml", directory / "output"
    file.write_text(as_toml(config))
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as notices:
        notices.bind(str(directory / "notify"))
        notices.setblocking(False)
        env = {"NOTIFY_SOCKET": str(directory / "notify"), **environment}
        words = ["/usr/bin/env", *(f"{name}={value}" for name, value in env.items())]
        child = await Child.start([*words, STOREBOOT, "serve", "-c", file], output=output)
        try:
            running = Daemon(child, config, file, notices, output)
            await running.told(lambda said: said.startswith("READY=1"))
            yield running
        finally:
            await child.stop()


async def test_hosts_change_and_connections_stay(tmp_path: Path) -> None:
    async with daemon(tmp_path) as running:
        text = as_toml(running.config)
        with await asyncio.to_thread(NfsClient, running.config.nfs.port) as client:
            await asyncio.to_thread(client.ask, NFS, 3, 0, b"")
            assert "kernel" not in await running.script(OTHER)
            system = running.config.hosts["lab1"].system
            await running.reload(text + f'[hosts.lab2]\nmac = ["{OTHER}"]\nsystem = "{system}"\n')
            assert "kernel" in await running.script(OTHER)
            assert "kernel" in await running.script(MAC)
            await asyncio.to_thread(client.ask, NFS, 3, 0, b"")
            await running.reload(text)
            assert "kernel" not in await running.script(OTHER)
            await asyncio.to_thread(client.ask, NFS, 3, 0, b"")


@pytest.mark.parametrize("fault", ["[hosts", "[server]\nadress = 1\n", None])
async def test_a_faulty_file_changes_nothing(tmp_path: Path, fault: str | None) -> None:
    async with daemon(tmp_path) as running:
        text = fault or as_toml(running.config).replace("52:54", "52-zz")
        await running.reload(text)
        assert "kernel" in await running.script(MAC)
        assert "reload.refused" in running.output.read_text()


async def test_what_needs_a_restart_is_said_and_stays(tmp_path: Path) -> None:
    async with daemon(tmp_path) as running:
        text = as_toml(running.config).replace(f"port = {running.config.http.port}", "port = 1")
        await running.reload(text)
        assert "kernel" in await running.script(MAC)
        (said,) = [
            line for line in running.output.read_text().splitlines() if "needs_restart" in line
        ]
        assert '"sections": ["http"]' in said


async def test_signs_of_life_for_the_watchdog(tmp_path: Path) -> None:
    async with daemon(tmp_path, WATCHDOG_USEC="300000") as running:
        for _ in range(3):
            await running.told(lambda words: words == "WATCHDOG=1")


def test_merged_keeps_what_sockets_were_opened_with(tmp_path: Path) -> None:
    old = make_config(tmp_path)
    new = old.model_copy(update={"server": ServerSection(address="127.0.0.2"), "hosts": {}})
    config, differ = merged(old, new)
    assert differ == ("server",)
    assert config.server == old.server
    assert config.hosts == {}
