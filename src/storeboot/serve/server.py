"""A running server: every listener bound, then ready; at its end everything closed."""

from __future__ import annotations

import asyncio
import resource
import socket
import time
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass

import structlog

from storeboot.config import Config
from storeboot.deploy.hazards import hazards
from storeboot.deploy.inventory import make_inventory
from storeboot.deploy.state import StateDirectory
from storeboot.dhcp.firmware import find_programs
from storeboot.errors import StorebootError
from storeboot.hosts.database import SERVER_SECONDS, Database, database_url
from storeboot.hosts.memory import Memory
from storeboot.nfs.program import Programs
from storeboot.nfs.v4.clients import Peer
from storeboot.serve.chores import Chores, assign, bravely
from storeboot.serve.dnsmasq.supervisor import Dnsmasq
from storeboot.serve.http.app import make_app
from storeboot.serve.http.gate import Gate, GatedRunner, bound, most_connections
from storeboot.serve.nfs.channel import WorkerSettings
from storeboot.serve.nfs.listener import Backend, NfsListener
from storeboot.serve.nfs.service import NfsService
from storeboot.serve.nfs.store_tree import StoreTree
from storeboot.serve.nfs.workers import NfsWorkers, usable_cores
from storeboot.service.boards import Boards
from storeboot.service.boot_service import MAKE_SECONDS, BootService

log = structlog.get_logger()


Given = Mapping[str, Sequence[socket.socket]]  # by name: nfs, http, alias
NFS_PORT = 2049
DATABASE_SECONDS = 70.0  # while the schema is brought up to date
ASSIGN_SECONDS = 86_400.0  # a room of systems is made ready, at the first start with packs
RELOAD_SECONDS = 3600.0


@dataclass(frozen=True, slots=True)
class Server:
    """A running server."""

    service: BootService
    nfs: NfsListener
    runner: GatedRunner
    database: Database
    dnsmasq: Dnsmasq | None = None

    async def use(self, config: Config) -> None:
        """Another configuration, with the same sockets."""
        run = self.service.threads.making.run
        made = await run(MAKE_SECONDS, make_inventory, config, self.database)
        await run(RELOAD_SECONDS, self.service.use, made)
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

    `given` has listening sockets that somebody else has bound. NFS comes first, so that machines
    that run wait no longer than they must; a database that is away, damaged or full keeps neither
    them nor those that boot waiting.
    """
    _raise_file_limit()
    state = StateDirectory(config.server.state_directory)  # SQLite needs the directory
    memory = Memory(state.path / "memory.json")
    memory.load()
    database = Database(database_url(config), seconds=SERVER_SECONDS, memory=memory)
    service = BootService(make_inventory(config, database), time.time)
    nfs = NfsListener(
        lambda on_closed: _backend(service, on_closed),
        service.alias_of,
        lambda address: service.native.connected(address, service.clock()),
    )
    service.reads = lambda address: nfs.backend.reads(address)
    service.peers = nfs.peers
    gate = Gate(most_connections())
    runner = GatedRunner(make_app(service, gate), gate, shutdown_timeout=2)
    async with AsyncExitStack() as stack:  # each is ended, whatever another one says
        stack.callback(database.dispose)
        stack.push_async_callback(_to_the_end, service.books.stop)
        stack.push_async_callback(nfs.stop)
        stack.push_async_callback(runner.cleanup)
        await _listen_nfs(nfs, config, given or {})
        service.books.start()
        mend = service.inventory.systems.mend
        await bravely(service.threads.making.run(ASSIGN_SECONDS, mend))
        await _wait_for_database(database)
        await service.threads.making.run(ASSIGN_SECONDS, assign, service, progress)
        for hazard in await service.threads.chores.run(MAKE_SECONDS, hazards):
            log.warning("store.changes_in_place", reason=hazard)
        await runner.setup()
        _listen_http(runner, config, (given or {}).get("http", ()))
        dnsmasq = await _start_dnsmasq(service)
        if dnsmasq is not None:
            stack.push_async_callback(dnsmasq.stop)
        chores = Chores(service, nfs, dnsmasq, _boards(service, dnsmasq))
        stack.push_async_callback(chores.stop)
        await bravely(chores.resume())
        hosts = await service.ask(service.registry.all)
        log.info("serve.ready", url=service.url, nfs_port=config.nfs.port, hosts=len(hosts))
        chores.start()
        yield Server(service, nfs, runner, database, dnsmasq)


async def _to_the_end(function: Callable[[], None]) -> None:
    """In a thread, also when the server is cancelled meanwhile."""
    await asyncio.shield(asyncio.to_thread(function))


async def _wait_for_database(database: Database) -> None:
    """A while, so that what is declared is deployed before anybody asks; not longer."""
    end = time.monotonic() + DATABASE_SECONDS
    while database.is_away and time.monotonic() < end:
        if database.has_failed:
            log.error("serve.without_database", reason=database.away and database.away.reason)
            return
        await asyncio.sleep(0.02)


def _boards(service: BootService, dnsmasq: Dnsmasq | None) -> Boards | None:
    firmware = service.config.dhcp.raspberry_firmware
    if dnsmasq is None or firmware is None:
        return None
    return Boards(service.inventory, dnsmasq.places.tftp, firmware.absolute())


async def _start_dnsmasq(service: BootService) -> Dnsmasq | None:
    """Last of all: who gets an address finds everything else ready."""
    if service.config.dhcp.mode == "off":
        find = service.threads.chores.run(MAKE_SECONDS, find_programs, service.config.dhcp.ipxe)
        try:
            service.programs = await find
        except StorebootError as error:
            log.error("dhcp.no_programs", reason=error.message, hint=error.hint)
        return None
    dnsmasq = Dnsmasq(service.config, service.state.path / "dhcp", service.saw)
    await dnsmasq.start(await service.ask(service.registry.all))
    service.programs = dnsmasq.programs
    return dnsmasq


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


def _listen_http(runner: GatedRunner, config: Config, given: Sequence[socket.socket]) -> None:
    for passed in given:
        runner.listen(passed)
    for address in () if given else config.listening(config.http):
        runner.listen(bound(address, config.http.port))
