"""The server's recurring work. `serve` decides when to do it."""

from __future__ import annotations

from collections.abc import Callable, Collection
from dataclasses import dataclass

import structlog

from storeboot.deploy.disk import shortage
from storeboot.hosts.refusals import Refusal
from storeboot.service.assigning import Progress, assign
from storeboot.service.bookkeeping import Bookkeeping
from storeboot.service.current import Current
from storeboot.service.known_boots import KnownBoots
from storeboot.service.refusing import Refusing
from storeboot.service.settling import Settling, remember, renew
from storeboot.service.waits import Changes
from storeboot.service.work import CHORE_SECONDS, Work

log = structlog.get_logger()
MAKE_SECONDS = 3600.0  # preparing systems may take minutes


@dataclass(frozen=True, slots=True)
class Health:
    """What could not be recorded, and what is known only in memory, for the operator."""

    database: str | None  # why it is unreachable, or None
    since: float | None  # in seconds since 1970
    waiting: dict[str, int]  # records that still have to be written, by kind
    lost: dict[str, int]  # records that will never be written
    disk: str | None  # what is running out on the disk, or None
    serving_since: float  # in seconds since 1970
    heard: dict[str, float]  # by boot, when its machine itself has spoken last
    refusals: list[Refusal]  # the last ones, the latest first


class Upkeep:
    """One method for each chore."""

    def __init__(
        self,
        current: Current,
        work: Work,
        books: Bookkeeping,
        settling: Settling,
        changed: Changes,
        known: KnownBoots,
        refusing: Refusing,
        since: float,
    ) -> None:
        """`since` is when the server started, in seconds since 1970."""
        self._current = current
        self._work = work
        self._books = books
        self._settling = settling
        self._changed = changed
        self._known = known
        self._refusing = refusing
        self._since = since
        self._resumed = False
        self._shortage: str | None = None

    async def assign(self, seconds: float, progress: Progress = lambda _text: None) -> None:
        """Prepare all systems. If no host can boot, running machines are still served."""
        inventory = self._current.inventory
        assigned = await self._work.making.run(seconds, assign, inventory, progress)
        self._current.became(assigned)
        if assigned.failure is not None:  # the faults of each host are logged already
            log.error("serve.no_host_can_boot", reason=assigned.failure.message,
                      hint=assigned.failure.hint)  # fmt: skip

    async def resume(self, now: float) -> None:
        """Resume leases and rollouts where they stopped, once the database is reachable.

        Until then no sign of life may be recorded: it would count the time without a server.
        """
        inventory = self._current.inventory
        if self._resumed or inventory.database.is_away:
            return
        await self._work.chores.run(CHORE_SECONDS, inventory.resume, now)
        self._resumed = True

    async def renew(self, peers: Callable[[], Collection[str]], clock: Callable[[], float]) -> None:
        """Note that machines which hold a connection are running, even if their agents are gone."""
        await self.resume(clock())
        if self._resumed:
            inventory = self._current.inventory
            await self._work.chores.run(CHORE_SECONDS, renew, inventory, peers(), clock)

    async def carry_on(self, clock: Callable[[], float]) -> None:
        """Deploy declared systems that are not deployed yet, and carry tests and rollouts on."""
        self._books.tell()
        if self._current.inventory.database.is_away:
            return
        await self.resume(clock())
        if not self._current.assigned.is_declared:
            await self.assign(MAKE_SECONDS)
        await self.settle_tests(clock)
        await self.advance_rollouts(clock)

    async def settle_tests(self, clock: Callable[[], float]) -> None:
        """Fail or confirm the tests whose time is over."""
        inventory = self._current.inventory
        await self._work.chores.run(CHORE_SECONDS, self._settling.settle, inventory, clock)
        await self._changed.tell()

    async def advance_rollouts(self, clock: Callable[[], float]) -> None:
        rollouts = self._current.inventory.rollouts
        await self._work.chores.run(CHORE_SECONDS, rollouts.advance, clock())
        await self._changed.tell()

    async def remember(self) -> None:
        """Save hosts and open tests, for a start without a database."""
        await self._work.chores.run(CHORE_SECONDS, remember, self._current.inventory)

    async def look_at_disk(self) -> None:
        """Log once that the disk has little room left."""
        found = await self._work.ask(shortage, self._current.inventory.state.path)
        if found is not None and self._shortage is None:
            log.warning("disk.low", reason=found)
        self._shortage = found

    async def keep_packs(self) -> None:
        """Rebuild outdated packs that were too new to be rebuilt at once."""
        catch_up = self._current.inventory.systems.packs.catch_up
        await self._work.making.run(MAKE_SECONDS, catch_up)

    async def health(self) -> Health:
        """Return the server's health at the moment."""
        away, missing = self._work.database.away, self._books.unrecorded()
        return Health(
            database=away.reason if away is not None else None,
            since=away.since if away is not None else None,
            waiting=missing.waiting,
            lost=missing.lost,
            disk=await self._work.ask(shortage, self._current.inventory.state.path),
            serving_since=self._since,
            heard=self._known.heard(),
            refusals=self._refusing.all(),
        )
