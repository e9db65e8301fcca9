"""What a running server does again and again; what fails once is tried again."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable

import structlog
from sqlalchemy.exc import SQLAlchemyError

from storeboot.deploy.disk import shortage
from storeboot.errors import StorebootError
from storeboot.serve.dnsmasq.supervisor import Dnsmasq
from storeboot.serve.nfs.listener import NfsListener
from storeboot.serve.threads import BusyError
from storeboot.service.boards import Boards
from storeboot.service.boot_service import CHORE_SECONDS, BootService

log = structlog.get_logger()
RENEW_SECONDS = 300.0
TEST_SECONDS = 5.0  # between two looks at tests and rollouts
NATIVE_SECONDS = 2.0  # between two looks at boots that say nothing themselves
DISK_SECONDS = 60.0
MAKE_SECONDS = 3600.0  # to make systems ready may take minutes


async def bravely(chore: Awaitable[object]) -> bool:
    """Whether it was done. What fails, because the database is away for a moment, is logged."""
    try:
        await chore
    except (SQLAlchemyError, StorebootError, OSError, ValueError, BusyError) as error:
        log.error("serve.chore_failed", reason=str(error) or type(error).__name__)
        return False
    except Exception:  # a bug in one chore must not end it for as long as the server runs
        log.exception("serve.chore_broke")
        return False
    return True


async def _every(seconds: float, chore: Callable[[], Awaitable[object]]) -> None:
    while True:
        await bravely(chore())
        await asyncio.sleep(seconds)


class Chores:
    """Of one server."""

    def __init__(
        self, service: BootService, nfs: NfsListener, dnsmasq: Dnsmasq | None, boards: Boards | None
    ) -> None:
        self._service = service
        self._nfs = nfs
        self._dnsmasq = dnsmasq
        self._boards = boards
        self._resumed = False
        self._shortage: str | None = None
        self._tasks: list[asyncio.Task[None]] = []

    def start(self) -> None:
        chores = [
            (RENEW_SECONDS, self._renew),
            (TEST_SECONDS, self._carry_on),
            (TEST_SECONDS, self._reserve),
            (NATIVE_SECONDS, self._look_at_native),
            (DISK_SECONDS, self._look_at_disk),
            (TEST_SECONDS, self._keep_packs),
        ]
        if self._boards is not None:
            chores.append((TEST_SECONDS, self._keep_boards))
        self._tasks = [asyncio.create_task(_every(*chore)) for chore in chores]

    async def stop(self) -> None:
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    async def resume(self) -> None:
        """Once, as soon as the database is there: leases and rollouts go on from where they stood.

        Until then no sign of life may be written: it would count the time without a server.
        """
        if self._resumed or self._service.inventory.database.is_away:
            return
        inventory, now = self._service.inventory, self._service.clock()
        await self._service.threads.chores.run(CHORE_SECONDS, inventory.resume, now)
        self._resumed = True

    async def _renew(self) -> None:
        """A machine whose agent is gone still runs as long as it holds its mount's connection."""
        await self.resume()
        if self._resumed:
            run = self._service.threads.chores.run
            await run(CHORE_SECONDS, _renew, self._service, self._nfs.peers())

    async def _carry_on(self) -> None:
        service = self._service
        service.books.tell()
        if service.inventory.database.is_away:
            return
        await self.resume()
        if not service.is_declared:
            await service.threads.making.run(MAKE_SECONDS, assign, service)
        await service.settle_tests()
        await service.carry_on()

    async def _reserve(self) -> None:
        """Everything that has changed of hosts: for dnsmasq, and to be remembered."""
        service = self._service
        await service.threads.chores.run(CHORE_SECONDS, _remember, service)
        if self._dnsmasq is not None:
            hosts = await service.ask(service.registry.all)
            await service.threads.chores.run(CHORE_SECONDS, self._dnsmasq.reserve, hosts)

    async def _look_at_native(self) -> None:
        await self._service.native.look(self._service.clock())

    async def _look_at_disk(self) -> None:
        found = await self._service.ask(shortage, self._service.state.path)
        if found is not None and self._shortage is None:
            log.warning("disk.low", reason=found)
        self._shortage = found

    async def _keep_packs(self) -> None:
        """Packs that are outdated, and were built too lately to be built at once."""
        catch_up = self._service.inventory.systems.packs.catch_up
        await self._service.threads.making.run(MAKE_SECONDS, catch_up)

    async def _keep_boards(self) -> None:
        """Apart from the others: it may take minutes."""
        service, boards = self._service, self._boards
        assert boards is not None
        boards.inventory = service.inventory  # another one after a reload
        hosts = await service.ask(service.registry.all)
        await service.threads.making.run(MAKE_SECONDS, boards.update, hosts, service.clock())


def _renew(service: BootService, peers: list[str]) -> None:
    now = service.clock()
    service.boots.touch_addresses(peers, now)
    service.state.serves()  # not before: while no sign of life is written, no lease runs out
    hosts = {host.name for host in service.registry.all()} | service.registry.invalid().keys()
    service.boots.forget_others(hosts, now - service.inventory.lease)


def _remember(service: BootService) -> None:
    database = service.inventory.database
    if database.memory is None or database.is_away:
        return
    service.registry.all()
    service.inventory.deployments.probations.all_open()
    database.memory.save()


def assign(service: BootService, progress: Callable[[str], None] = lambda _text: None) -> None:
    """Make systems ready. Even if no host can boot the server serves those that run."""
    try:
        service.assign(progress)
    except StorebootError as error:  # which was logged of each
        log.error("serve.no_host_can_boot", reason=error.message, hint=error.hint)
