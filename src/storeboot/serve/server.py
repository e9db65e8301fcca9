"""A running server: every listener bound, then ready; at its end everything closed."""

from __future__ import annotations

import asyncio
import resource
import socket
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass

import structlog
from aiohttp import web
from sqlalchemy import Engine
from sqlalchemy.exc import SQLAlchemyError

from storeboot.config import Config
from storeboot.deploy.hazards import hazards
from storeboot.deploy.inventory import make_inventory
from storeboot.deploy.state import StateDirectory
from storeboot.dhcp.firmware import find_programs
from storeboot.errors import StorebootError
from storeboot.hosts.database import database_url, open_database
from storeboot.nfs.program import Programs
from storeboot.nfs.v4.clients import Peer
from storeboot.serve.boot_service import BootService
from storeboot.serve.dnsmasq import Dnsmasq
from storeboot.serve.http_app import make_app
from storeboot.serve.nfs_channel import WorkerSettings
from storeboot.serve.nfs_listener import Backend, NfsListener
from storeboot.serve.nfs_service import NfsService
from storeboot.serve.nfs_workers import NfsWorkers, usable_cores
from storeboot.serve.raspberry import Boards
from storeboot.serve.store_tree import StoreTree

log = structlog.get_logger()


Given = Mapping[str, Sequence[socket.socket]]  # by name: nfs, http, alias
NFS_PORT = 2049
RENEW_SECONDS = 300.0
TEST_SECONDS = 5.0  # between two looks at tests and rollouts
NATIVE_SECONDS = 2.0  # between two looks at boots that say nothing themselves


@dataclass(frozen=True, slots=True)
class Server:
    """A running server."""

    service: BootService
    nfs: NfsListener
    runner: web.AppRunner
    engine: Engine
    dnsmasq: Dnsmasq | None = None

    async def use(self, config: Config) -> None:
        """Another configuration, with the same sockets."""
        await asyncio.to_thread(self.service.use, make_inventory(config, self.engine))
        await self.service.notify()

    async def stop(self) -> None:
        """Close every listener and connection."""
        await self.runner.cleanup()
        await self.nfs.stop()


@asynccontextmanager
async def running(
    config: Config,
    progress: Callable[[str], None] = lambda _text: None,
    given: Given | None = None,
) -> AsyncIterator[Server]:
    """A server with its systems assigned and its ports bound.

    `given` has listening sockets that somebody else has bound.
    """
    _raise_file_limit()
    StateDirectory(config.server.state_directory)  # SQLite needs the directory
    engine = open_database(database_url(config))
    service = BootService(make_inventory(config, engine), time.time)
    nfs = NfsListener(
        lambda on_closed: _backend(service, on_closed),
        service.alias_of,
        lambda address: service.native.connected(address, service.clock()),
    )
    service.reads = lambda address: nfs.backend.reads(address)
    app = make_app(service)
    dnsmasq: Dnsmasq | None = None
    runner = web.AppRunner(app, handle_signals=False, access_log=None, shutdown_timeout=2)
    try:
        # First, so that machines that run wait no longer than they must.
        await _listen_nfs(nfs, config, given or {})
        await asyncio.to_thread(service.inventory.resume, service.clock())
        await asyncio.to_thread(service.assign, progress)
        for hazard in await asyncio.to_thread(hazards):
            log.warning("store.changes_in_place", reason=hazard)
        await runner.setup()
        await _listen_http(runner, config, (given or {}).get("http", ()))
        dnsmasq = await _start_dnsmasq(service)
        log.info("serve.ready", url=service.url, nfs_port=config.nfs.port,
                 hosts=len(service.registry.all()))  # fmt: skip
        chores = [
            asyncio.create_task(_renew_leases(service, nfs)),
            asyncio.create_task(_carry_on(service, dnsmasq)),
            asyncio.create_task(_look_at_native(service)),
        ]
        firmware = config.dhcp.raspberry_firmware
        if dnsmasq is not None and firmware is not None:
            boards = Boards(service.inventory, dnsmasq.places.tftp, firmware.absolute())
            chores.append(asyncio.create_task(_keep_boards(service, boards)))
        try:
            yield Server(service, nfs, runner, engine, dnsmasq)
        finally:
            for chore in chores:
                chore.cancel()
            await asyncio.gather(*chores, return_exceptions=True)
    finally:
        async with AsyncExitStack() as stack:  # each of them, whatever another one says
            stack.callback(engine.dispose)
            stack.push_async_callback(nfs.stop)
            stack.push_async_callback(runner.cleanup)
            if dnsmasq is not None:
                stack.push_async_callback(dnsmasq.stop)


async def _start_dnsmasq(service: BootService) -> Dnsmasq | None:
    """Last of all: who gets an address finds everything else ready."""
    if service.config.dhcp.mode == "off":
        try:
            service.programs = await asyncio.to_thread(find_programs, service.config.dhcp.ipxe)
        except StorebootError as error:
            log.error("dhcp.no_programs", reason=error.message, hint=error.hint)
        return None
    dnsmasq = Dnsmasq(service.config, service.state.path / "dhcp", service.saw)
    await dnsmasq.start(service.registry.all())
    service.programs = dnsmasq.programs
    return dnsmasq


async def _renew_leases(service: BootService, nfs: NfsListener) -> None:
    """A machine whose agent is gone still runs as long as it holds its mount's connection."""
    while True:
        await _bravely(asyncio.to_thread(_renew, service, nfs.peers(), service.clock()))
        await asyncio.sleep(RENEW_SECONDS)


def _renew(service: BootService, peers: list[str], now: float) -> None:
    service.boots.touch_addresses(peers, now)
    service.state.serves()
    hosts = {host.name for host in service.registry.all()} | service.registry.invalid().keys()
    service.boots.forget_others(hosts, now - service.inventory.lease)


async def _carry_on(service: BootService, dnsmasq: Dnsmasq | None) -> None:
    while True:
        if dnsmasq is not None:
            await _bravely(asyncio.to_thread(dnsmasq.reserve, service.registry.all()))
        await _bravely(service.settle_tests())
        await _bravely(service.carry_on())
        await asyncio.sleep(TEST_SECONDS)


async def _look_at_native(service: BootService) -> None:
    while True:
        await _bravely(service.native.look(service.clock()))
        await asyncio.sleep(NATIVE_SECONDS)


async def _keep_boards(service: BootService, boards: Boards) -> None:
    """Apart from the other chores: to make a system ready may take minutes."""
    while True:
        boards.inventory = service.inventory  # another one after a reload
        hosts = await asyncio.to_thread(service.registry.all)
        await _bravely(asyncio.to_thread(boards.update, hosts, service.clock()))
        await asyncio.sleep(TEST_SECONDS)


async def _bravely(chore: Awaitable[object]) -> None:
    """What fails once, because the database was away for a moment, is tried again."""
    try:
        await chore
    except (SQLAlchemyError, StorebootError, OSError, ValueError) as error:
        log.error("serve.chore_failed", reason=str(error))


def worker_count(config: Config) -> int:
    """Processes that answer NFS; none where the server does it by itself."""
    return usable_cores() if config.nfs.workers is None else config.nfs.workers


def _backend(service: BootService, on_closed: Callable[[Peer], None]) -> Backend:
    """Worker processes, or this one."""
    config = service.config
    address = f"{config.server.address}:{config.nfs.port}"
    count = worker_count(config)
    if count:
        settings = WorkerSettings(
            key=service.key.hex(),
            service=address,
            lease=config.nfs.lease,
            reply_memory=config.nfs.reply_memory << 20,
            store=str(config.store.root),
            state_directory=str(config.server.state_directory),
        )
        return NfsWorkers(settings, count, on_closed)
    programs = Programs(
        service.key, address, time.monotonic,
        lease=config.nfs.lease, reply_memory=config.nfs.reply_memory << 20,
    )  # fmt: skip
    return NfsService(
        programs, StoreTree(service.inventory.systems.store, service.state), on_closed
    )


async def _listen_nfs(nfs: NfsListener, config: Config, given: Given) -> None:
    ports = {"nfs": config.nfs.port}
    if config.nfs.alias and config.nfs.port != NFS_PORT:
        ports["alias"] = NFS_PORT
    for name, port in ports.items():
        for passed in given.get(name, ()):
            await nfs.start("", port, passed)
        for address in config.listening(config.nfs) if name not in given else ():
            await nfs.start(address, port)


def _raise_file_limit() -> None:
    """Every machine is a connection, every file that is read a descriptor."""
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))


async def _listen_http(
    runner: web.AppRunner, config: Config, given: Sequence[socket.socket]
) -> None:
    for passed in given:
        await web.SockSite(runner, passed).start()
    if given:
        return
    port = config.http.port
    for address in config.listening(config.http):
        try:
            await web.TCPSite(runner, address, port).start()
        except OSError as error:
            raise StorebootError(
                f"cannot listen for HTTP on {address} port {port}: {error.strerror}",
                "stop what uses the port, or set http.port; set http.listen if the address is not "
                "this machine's, or not yet",
            ) from None
