"""A room of three hosts on one disk, driven through the real commands and a real server."""

from __future__ import annotations

import asyncio
import gzip
import hashlib
import json
import os
import re
import select
import shutil
import signal
import socket
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from pathlib import Path

import aiohttp
import zstandard

from integration.deploying import STOREBOOT, Machine, make_system
from integration.nfs_client import NfsClient
from storeboot.config import (
    Config,
    HostSection,
    HttpSection,
    NfsSection,
    ServerSection,
    StoreSection,
)
from storeboot.deploy.inventory import opened
from storeboot.hosts.boots import Boot
from storeboot.nfs.handle import HandleCodec, MountToken
from storeboot.nfs.views import view_id
from storeboot.nix.store import Store, StorePath
from storeboot.process import Child, run
from storeboot.vm.trial import free_ports

MACS = {f"lab{number}": f"52:54:00:00:00:0{number}" for number in (1, 2, 3)}
KERNEL = bytes(range(256)) * 64  # of every system that is made here
START_SECONDS = 120.0
_INIT = re.compile(r"init=(/nix/store/[^/\s]+)/init")


def make_config(disk: Path) -> Config:
    http_port, nfs_port = free_ports(2)
    return Config(
        server=ServerSection(address="127.0.0.1", state_directory=disk / "state"),
        store=StoreSection(root=disk / "root"),
        http=HttpSection(listen="127.0.0.1", port=http_port),
        nfs=NfsSection(listen="127.0.0.1", port=nfs_port, workers=0),
        hosts={name: HostSection(mac=(mac,)) for name, mac in MACS.items()},
    )


def as_toml(config: Config) -> str:
    hosts = "".join(f'[hosts.{name}]\nmac = ["{mac}"]\n' for name, mac in MACS.items())
    return f"""
[server]
address = "127.0.0.1"
state_directory = "{config.server.state_directory}"
[store]
root = "{config.store.root}"
[http]
listen = "127.0.0.1"
port = {config.http.port}
[nfs]
listen = "127.0.0.1"
port = {config.nfs.port}
workers = 0
{hosts}"""


class Room:
    """Hosts, systems and a server; `scratch` is a directory that loses nothing."""

    def __init__(self, disk: Path, scratch: Path) -> None:
        self.config = make_config(disk)
        self.store = Store(self.config.store.root)
        self.state = self.config.server.state_directory
        self._scratch = scratch
        self.file = scratch / "storeboot.toml"
        self.file.write_text(as_toml(self.config))
        self.children: list[Child] = []
        self._log = scratch / "server.log"

    def new_system(self, number: int) -> StorePath:
        """Of a path of its own; nothing of it is synced."""
        return make_system(self.config, self._scratch, number)

    async def command(self, *words: object, **environment: str) -> Child:
        """One that is on its way."""
        settings = [f"{name}={value}" for name, value in environment.items()]
        argv: list[str | Path] = [
            "/usr/bin/env",
            *settings,
            STOREBOOT,
            *map(str, words),
            "--config",
            self.file,
        ]
        output = self._scratch / f"command-{len(self.children)}.log"
        child = await Child.start(argv, output=output)
        self.children.append(child)
        return child

    async def succeed(self, *words: object) -> str:
        """What a command says that must succeed."""
        child = await self.command(*words)
        status = await child.wait()
        said = self.last_words()
        assert status == 0, f"storeboot {words[0]} ended with status {status}: {said}"
        return said

    def last_words(self) -> str:
        return (self._scratch / f"command-{len(self.children) - 1}.log").read_text()

    async def kill_all(self) -> None:
        """Commands, and what they have started: nothing goes on without power."""
        sessions = {child.pid for child in self.children if child.status is None}
        while members := [pid for pid in _processes() if _session(pid) in sessions]:
            await asyncio.to_thread(_kill, members)
        for child in self.children:
            await child.wait()

    @asynccontextmanager
    async def serving(self) -> AsyncIterator[aiohttp.ClientSession]:
        """`storeboot serve`, ready by its own word to systemd."""
        place = self._scratch / "notify"
        place.unlink(missing_ok=True)
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as listener:
            listener.bind(os.fspath(place))
            listener.setblocking(False)
            child = await self.command("serve", NOTIFY_SOCKET=os.fspath(place))
            await self._ready(listener, child)
            try:
                timeout = aiohttp.ClientTimeout(total=60)
                url = f"http://127.0.0.1:{self.config.http.port}"
                async with aiohttp.ClientSession(url, timeout=timeout) as http:
                    yield http
            finally:
                await child.stop()

    async def _ready(self, listener: socket.socket, child: Child) -> None:
        loop = asyncio.get_running_loop()
        ended = asyncio.create_task(child.wait())
        try:
            async with asyncio.timeout(START_SECONDS):
                while True:
                    said = asyncio.create_task(loop.sock_recv(listener, 4096))
                    await asyncio.wait({said, ended}, return_when=asyncio.FIRST_COMPLETED)
                    if ended.done():
                        said.cancel()
                        raise AssertionError(f"serve does not start: {self.last_words()[-3000:]}")
                    if b"READY=1" in said.result():
                        return
        finally:
            ended.cancel()

    def lease(self, host: str, system: StorePath, boot: str) -> None:
        """A machine that has begun to boot this, and runs."""
        now = time.time()
        with opened(self.config) as inventory:
            inventory.boots.begin(
                Boot(
                    id=boot, host=host, view=view_of(system), system=system.text, nonce=boot * 2,
                    machine=MACS[host], address="127.0.0.1", began_at=now, seen_at=now,
                )
            )  # fmt: skip

    def require_whole(self, system: StorePath) -> None:
        """Nix finds every byte of it as it was."""
        run(["nix-store", "--store", self.store.root, "--verify-path", system.text], seconds=60)

    def require_readable(self, system: StorePath, token: str) -> None:
        """Over NFS, by a mount token, as a machine does."""
        with NfsClient(self.config.nfs.port) as nfs:
            root = nfs.mount(f"/view/{token}")
            assert root is not None, f"the view of {system} cannot be mounted"
            top = nfs.lookup(root, system.base_name.encode())
            assert top is not None
            kernel = nfs.lookup(top, b"kernel")
            assert kernel is not None
            assert nfs.read(kernel) == KERNEL

    def token(self, system: StorePath, boot: str) -> str:
        key = (self.state / "server.key").read_bytes()
        token = MountToken(bytes.fromhex(view_of(system)), bytes.fromhex(boot))
        return HandleCodec(key).encode_token(token)

    async def next_boot(self, http: aiohttp.ClientSession, host: str) -> StorePath:
        """What a host's machine is given."""
        script = await Machine(http, host, MACS[host]).script()
        match = _INIT.search(script)
        assert match is not None, f"{host} gets no system: {script}"
        return StorePath(match[1])

    async def boot(self, http: aiohttp.ClientSession, host: str, number: int) -> StorePath:
        """Boot as a machine does, as far as that can be done without one; every file is whole."""
        system = await self.next_boot(http, host)
        self.require_whole(system)
        view = view_of(system)

        async def get(name: str) -> bytes:
            async with http.get(f"/views/{view}/{name}", params={"host": host}) as response:
                assert response.status == 200, f"{host}, {name}: {response.reason}"
                return await response.read()

        assert await get("kernel") == KERNEL
        archive = zstandard.ZstdDecompressor().decompressobj().decompress(await get("initrd"))
        assert archive.startswith(b"070701")
        assert b"TRAILER!!!" in archive
        assert (await get("paths")).decode().split() == [system.text]
        assert gzip.decompress(await get("database")).startswith(b"SQLite format 3")
        machine = Machine(http, host, MACS[host])
        begun = await machine.begin(system, nonce=f"{number:032x}")
        pack = await get(f"pack/{begun['pack']}")
        assert hashlib.sha256(pack).hexdigest() == begun["pack_sha256"]
        self.require_readable(system, begun["token"])
        return system

    async def damages(self) -> dict[str, list[str]]:
        """What `status` calls damaged."""
        argv: list[str | Path] = [STOREBOOT, "status", "--json", "--config", self.file]
        rows = json.loads(await asyncio.to_thread(run, argv, seconds=60))
        hosts = {name: row for name, row in rows.items() if row and "damaged" in row}
        return {name: row["damaged"] for name, row in hosts.items() if row["damaged"]}

    def forget_everything(self) -> None:
        """The server has never run here; its store stays."""
        shutil.rmtree(self.state)
        os.sync()


def _processes() -> list[int]:
    return [int(place.name) for place in Path("/proc").iterdir() if place.name.isdecimal()]


def _session(pid: int) -> int | None:
    """Of a process that is not dead yet; each command leads one of its own."""
    try:
        state, _, _, session = (
            Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split(maxsplit=4)[:4]
        )
    except OSError:
        return None
    return int(session) if state != "Z" else None


def _kill(pids: list[int]) -> None:
    """Kill them and wait until each has ended."""
    for pid in pids:
        with suppress(ProcessLookupError):
            descriptor = os.pidfd_open(pid)
            try:
                signal.pidfd_send_signal(descriptor, signal.SIGKILL)
                select.select([descriptor], [], [], 60)
            finally:
                os.close(descriptor)


def view_of(system: StorePath) -> str:
    return view_id([system.text]).hex()
