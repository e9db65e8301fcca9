"""A running server: binds every listener, then is ready; closes everything at its end."""

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
from storeboot.deploy.inventory import Inventory, make_inventory
from storeboot.deploy.state import make_state_directory
from storeboot.errors import StorebootError
from storeboot.hosts.database import SERVER_SECONDS, Database, database_url
from storeboot.hosts.memory import Memory
from storeboot.nfs.program import Programs
from storeboot.nfs.refusal import Refusal
from storeboot.nfs.v4.clients import Peer
from storeboot.serve.chores import Chores, bravely
from storeboot.serve.dnsmasq.supervisor import Dnsmasq
from storeboot.serve.http.app import make_app
from storeboot.serve.http.gate import Gate, GatedRunner, bound, most_connections
from storeboot.serve.nfs.channel import WorkerSettings
from storeboot.serve.nfs.listener import Backend, NfsListener
from storeboot.serve.nfs.service import NfsService
from storeboot.serve.nfs.store_tree import StoreTree
from storeboot.serve.nfs.workers import NfsWorkers, usable_cores
from storeboot.serve.threads import pools
from storeboot.service.alias import alias_of
from storeboot.service.assembly import make_service
from storeboot.service.boards import Boards
from storeboot.service.boot_service import BootService
from storeboot.service.current import Current
from storeboot.service.ipxe import IpxePrograms
from storeboot.service.native import NativeBoots
from storeboot.service.work import MAKE_SECONDS

log = structlog.get_logger()


Given = Mapping[str, Sequence[socket.socket]]  # by name: nfs, http, alias
NFS_PORT = 2049
DATABASE_SECONDS = 70.0  # until the schema is up to date
ASSIGN_SECONDS = 86_400.0  # the first start with packs may prepare the systems of many hosts


@dataclass(frozen=True, slots=True)
class Server:
    """A running server."""

    service: BootService
    nfs: NfsListener
    runner: GatedRunner
    database: Database
    dnsmasq: Dnsmasq | None = None

    async def use(self, config: Config) -> None:
        """Use another configuration, with the same sockets."""
        run = self.service.work.making.run
        await self.service.use(await run(MAKE_SECONDS, make_inventory, config, self.database))

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
    """Return a context with a running server: systems assigned and ports bound.

    `given` has listening sockets that are bound already. NFS comes first, so that running machines
    wait no longer than necessary. A database that is unreachable, damaged or on a full disk delays
    neither them nor machines that boot.
    """
    _raise_file_limit()
    database = _database(config)
    service, nfs = _made(config, database)
    gate = Gate(most_connections())
    runner = GatedRunner(make_app(service, gate), gate, shutdown_timeout=2)
    async with AsyncExitStack() as stack:  # each part is ended, even if another one fails to end
        stack.enter_context(service.state.serving.held())
        stack.callback(database.dispose)
        stack.push_async_callback(_to_the_end, service.books.stop)
        stack.push_async_callback(nfs.stop)
        stack.push_async_callback(runner.cleanup)
        await _listen_nfs(nfs, config, given or {})
        service.books.start()
        mend = service.inventory.systems.mend
        await bravely(service.work.making.run(ASSIGN_SECONDS, mend))
        await _wait_for_database(database)
        await service.assign(ASSIGN_SECONDS, progress)
        for hazard in await service.work.chores.run(MAKE_SECONDS, hazards):
            log.warning("store.changes_in_place", reason=hazard.advice)
        await runner.setup()
        _listen_http(runner, config, (given or {}).get("http", ()))
        dnsmasq = await _start_dnsmasq(service)
        if dnsmasq is not None:
            stack.push_async_callback(dnsmasq.stop)
        chores = Chores(service, nfs, dnsmasq, _boards(service, dnsmasq))
        stack.push_async_callback(chores.stop)
        await bravely(service.resume())
        hosts = await service.ask(service.registry.all)
        log.info("serve.ready", url=service.url, nfs_port=config.nfs.port, hosts=len(hosts))
        chores.start()
        yield Server(service, nfs, runner, database, dnsmasq)


def _database(config: Config) -> Database:
    """Return the database, with what was remembered of it. It is not opened yet."""
    state = make_state_directory(config.server.state_directory)  # SQLite needs the directory
    memory = Memory(state.path / "memory.json")
    memory.load()
    return Database(database_url(config), seconds=SERVER_SECONDS, memory=memory)


def _made(config: Config, database: Database) -> tuple[BootService, NfsListener]:
    """Return the service and the NFS ports. The ports do not know the service; it asks them."""
    current, native = Current(make_inventory(config, database)), NativeBoots()
    nfs = NfsListener(
        lambda on_closed: _backend(current.inventory, on_closed),
        lambda address: alias_of(current.inventory, address, time.time()),
        native.connected,
        lambda address: native.mounted(address, time.time()),
        lambda address, refusal: _refused(current.inventory, native, address, refusal),
    )
    service = make_service(
        current,
        pools(database),
        native,
        IpxePrograms(config.dhcp.ipxe),
        clock=time.time,
        monotonic=time.monotonic,
        reads=nfs.reads,
        silence=nfs.silence,
        peers=nfs.peers,
    )
    return service, nfs


def _refused(inventory: Inventory, native: NativeBoots, address: str, refusal: Refusal) -> None:
    """Note for the timeline of the host with this address that it was refused its mount."""
    host = inventory.registry.at(address)
    if host is not None:
        native.refused(host.name, refusal.reason, time.time())


async def _to_the_end(function: Callable[[], None]) -> None:
    """Run a function in a thread, to its end even if the server is cancelled in the meantime."""
    await asyncio.shield(asyncio.to_thread(function))


async def _wait_for_database(database: Database) -> None:
    """Wait a short while for the database, so that declared systems are deployed before any
    request."""
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
    return Boards(dnsmasq.places.tftp, firmware.absolute())


async def _start_dnsmasq(service: BootService) -> Dnsmasq | None:
    """Start dnsmasq, last of all, so that a machine that gets an address finds the rest ready."""
    find = service.programs.find
    if service.config.dhcp.mode == "off":
        try:
            await service.work.chores.run(MAKE_SECONDS, find)
        except StorebootError as error:
            log.error("dhcp.no_programs", reason=error.message, hint=error.hint)
        return None
    dnsmasq = Dnsmasq(service.config, service.state.path / "dhcp", find, service.saw)
    await dnsmasq.start(await service.ask(service.registry.all))
    return dnsmasq


def worker_count(config: Config) -> int:
    """Return the number of worker processes; 0 if the server answers NFS itself."""
    return usable_cores() if config.nfs.workers is None else config.nfs.workers


def _backend(inventory: Inventory, on_closed: Callable[[Peer], None]) -> Backend:
    """Return the NFS backend: worker processes, or this process."""
    config, key = inventory.config, inventory.systems.key
    address = f"{config.server.address}:{config.nfs.port}"
    count = worker_count(config)
    if count:
        settings = WorkerSettings(
            key=key.hex(),
            service=address,
            lease=config.nfs.lease,
            reply_memory=config.nfs.reply_memory << 20,
            store=str(config.store.root),
            state_directory=str(config.server.state_directory),
        )
        return NfsWorkers(settings, count, on_closed)
    programs = Programs(
        key, address, time.monotonic,
        lease=config.nfs.lease, reply_memory=config.nfs.reply_memory << 20,
    )  # fmt: skip
    return NfsService(programs, StoreTree(inventory.systems.store, inventory.state), on_closed)


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
    """Raise the limit of file descriptors: every machine is a connection, every open file one
    more."""
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))


def _listen_http(runner: GatedRunner, config: Config, given: Sequence[socket.socket]) -> None:
    for passed in given:
        runner.listen(passed)
    for address in () if given else config.listening(config.http):
        runner.listen(bound(address, config.http.port))
