"""Begins a boot: takes its lease, records it, and tells of the stages that came before it."""

from __future__ import annotations

from collections.abc import Callable

from storeboot.hosts.boot import Boot, Event
from storeboot.hosts.host import Host
from storeboot.protocol.stages import Source
from storeboot.service.asked import Beginning
from storeboot.service.bookkeeping import BOOT_SECONDS, Bookkeeping
from storeboot.service.happenings import Happenings
from storeboot.service.known_boots import KnownBoots
from storeboot.service.leasing import LOCK_SECONDS, Leasing
from storeboot.service.reading import StoreReads
from storeboot.service.refusals import BusyError, RefusedError, ReplayError
from storeboot.service.waits import Background, together
from storeboot.service.work import ASK_SECONDS, Work


class Beginnings:
    """Begins boots."""

    def __init__(
        self,
        work: Work,
        leasing: Leasing,
        boots: KnownBoots,
        books: Bookkeeping,
        happenings: Happenings,
        reads: StoreReads,
    ) -> None:
        self._work = work
        self._leasing = leasing
        self._boots = boots
        self._books = books
        self._happenings = happenings
        self._reads = reads
        self._background = Background()

    async def begin(self, asked: Beginning, clock: Callable[[], float]) -> tuple[Boot, Host]:
        """Begin a boot, and return it with its host. A repeated nonce returns the same boot.

        Raises RefusedError, or BusyError if the machine may ask again.
        """
        try:
            boot, host, told = await self._work.boots.run(
                LOCK_SECONDS + ASK_SECONDS, self._leasing.begin, asked, clock
            )
        except TimeoutError:
            raise BusyError("the server's disk or database does not answer") from None
        if (boot.host, boot.view) != (host.name, asked.view):
            raise RefusedError("this nonce belongs to another boot")
        if self._boots.is_replay(boot):
            raise ReplayError("this boot has begun already")
        known = await self._work.ask(self._boots.stages_of, boot.id) if asked.early else set()
        now = clock()
        before = (
            Event(boot.host, Source.SERVER, each.stage, now - each.ago, boot.id, each.uptime)
            for each in asked.early
            if each.stage not in known
        )
        await together(
            self._books.began(boot, told),
            *(self._happenings.tell(event, BOOT_SECONDS) for event in before),
        )
        # Forget what was read before the boot began; the boot does not wait for that.
        self._background.start(self._reads.of(boot.address))
        return boot, host
