"""What a running server does again and again. A chore that fails is tried again."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable

import structlog
from sqlalchemy.exc import SQLAlchemyError

from storeboot.errors import StorebootError
from storeboot.serve.dnsmasq.supervisor import Dnsmasq
from storeboot.serve.nfs.listener import NfsListener
from storeboot.service.boards import Boards
from storeboot.service.boot_service import BootService
from storeboot.service.refusals import BusyError
from storeboot.service.work import CHORE_SECONDS

log = structlog.get_logger()
RENEW_SECONDS = 300.0
TEST_SECONDS = 5.0  # between two checks of tests and rollouts
NATIVE_SECONDS = 2.0  # between two checks of boots that report nothing themselves
DISK_SECONDS = 60.0
BOARDS_SECONDS = 3600.0  # preparing systems may take minutes


async def bravely(chore: Awaitable[object]) -> bool:
    """Await a chore; return whether it succeeded.

    A failure is logged and not raised, because the database may be unreachable for a moment only.
    """
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
    """The recurring work of one server."""

    def __init__(
        self, service: BootService, nfs: NfsListener, dnsmasq: Dnsmasq | None, boards: Boards | None
    ) -> None:
        self._service = service
        self._nfs = nfs
        self._dnsmasq = dnsmasq
        self._boards = boards
        self._tasks: list[asyncio.Task[None]] = []

    def start(self) -> None:
        service = self._service
        chores: list[tuple[float, Callable[[], Awaitable[object]]]] = [
            (RENEW_SECONDS, lambda: service.renew(self._nfs.peers)),
            (TEST_SECONDS, service.carry_on),
            (TEST_SECONDS, self._reserve),
            (NATIVE_SECONDS, service.look_at_native),
            (DISK_SECONDS, service.upkeep.look_at_disk),
            (TEST_SECONDS, service.upkeep.keep_packs),
        ]
        if self._boards is not None:
            chores.append((TEST_SECONDS, self._keep_boards))
        self._tasks = [asyncio.create_task(_every(*chore)) for chore in chores]

    async def stop(self) -> None:
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    async def _reserve(self) -> None:
        """Remember all hosts, and pass changed hosts on to dnsmasq."""
        service = self._service
        await service.upkeep.remember()
        if self._dnsmasq is not None:
            hosts = await service.ask(service.registry.all)
            await service.work.chores.run(CHORE_SECONDS, self._dnsmasq.reserve, hosts)

    async def _keep_boards(self) -> None:
        """Update the boards' directories, in the pool for long work, because it may take
        minutes."""
        service, boards = self._service, self._boards
        assert boards is not None
        inventory = service.inventory
        hosts = await service.ask(inventory.registry.all)
        update, now = boards.update, service.clock()
        await service.work.making.run(BOARDS_SECONDS, update, inventory, hosts, now)
