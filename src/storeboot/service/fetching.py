"""Follows what known hosts fetch: a kernel or an initrd, from its first byte to its last."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Callable
from dataclasses import dataclass
from pathlib import Path

import structlog

from storeboot.errors import StorebootError
from storeboot.hosts.boot import Event
from storeboot.hosts.database import DatabaseAwayError
from storeboot.hosts.host import Host
from storeboot.protocol.stages import Source, Stage
from storeboot.service import choosing
from storeboot.service.alias import Alias
from storeboot.service.current import Current
from storeboot.service.downloads import Arrived, Download, Downloads, Part
from storeboot.service.happenings import Happenings
from storeboot.service.known_boots import KnownBoots
from storeboot.service.native import NativeBoots
from storeboot.service.refusals import BusyError
from storeboot.service.work import ASK_SECONDS, Work

log = structlog.get_logger()
RUNS = 60.0  # seconds: a machine that was heard of since then is running, and downloads nothing


@dataclass(frozen=True, slots=True)
class Fetch:
    """A machine asks for a file of a view, in a host's name."""

    view: str
    host: str
    stage: str  # kernel or initrd
    file: Path
    address: str
    is_anew: bool  # whether the whole file is asked for, and not a part


class Fetching:
    """Tells the listeners of files that were fetched, and of downloads that take long."""

    def __init__(
        self,
        current: Current,
        work: Work,
        happenings: Happenings,
        alias: Alias,
        known: KnownBoots,
        native: NativeBoots,
    ) -> None:
        self._current = current
        self._work = work
        self._happenings = happenings
        self._alias = alias
        self._known = known
        self._native = native
        self._downloads = Downloads()

    async def begins(
        self, fetch: Fetch, arrived: Arrived, clock: Callable[[], float]
    ) -> Download | None:
        """Note that a file begins to be sent; return its download, or None if no known host is
        meant.

        `arrived` returns which part of the file has arrived so far.
        """
        found = await self._work.ask(_of_host, self._current, fetch)
        if found is None:
            return None
        host, size = found
        now = clock()
        if fetch.stage == Stage.INITRD:
            await self._alias.gives(host, fetch.view, fetch.address, now, is_fetched=True)
        new = Download(host, fetch.stage, fetch.view, fetch.address, size, now, now)
        return self._downloads.begins(new, arrived, is_anew=fetch.is_anew)

    async def ends(
        self, download: Download, arrived: Arrived, part: Part | None, clock: Callable[[], float]
    ) -> None:
        """Note that an answer has ended; `part` of the file was in it. Tell the listeners if the
        file is whole now."""
        now = clock()
        if not download.ends(arrived, part, now):
            return
        host = download.host
        event = Event(host.name, Source.SERVER, download.stage, now)
        if download.stage == Stage.INITRD and host.mode == "native":
            # At once: a machine that is faster than our disk has mounted before the event is told.
            self._native.begin(host, now)
            await self._starts_test(download, now)
        await self._happenings.tell(event)

    async def _starts_test(self, download: Download, now: float) -> None:
        """Begin the test of a machine that may never say that its boot has begun.

        A running machine fetches its own initrd for kexec. If somebody at another address fetches
        it meanwhile, no boot begins.
        """
        host = download.host
        tests = self._current.inventory.tests
        try:
            is_others = download.address not in host.addresses and await self._work.ask(
                self._known.has_spoken, host.name, now - RUNS
            )
            if not is_others:
                await self._work.deciding.run(
                    ASK_SECONDS, tests.initrd_fetched, host.name, download.view, now
                )
        except (TimeoutError, BusyError, StorebootError, DatabaseAwayError, OSError) as error:
            reason = str(error) or "it takes too long"
            log.error("test.not_begun", host=host.name, reason=reason)

    async def look(self, now: float) -> AsyncGenerator[Event, None]:
        """Check on the downloads, and yield the events to report."""
        for event in self._downloads.look(now):
            is_running = event.stage == Stage.SILENT and await self._work.ask(
                self._known.has_spoken, event.host, now - RUNS
            )
            if not is_running:  # otherwise somebody else has asked for the file
                yield event


def _of_host(current: Current, fetch: Fetch) -> tuple[Host, int] | None:
    """Return the known host that may boot the view, and the size of the file, or None."""
    inventory = current.inventory
    if not choosing.is_of(inventory, fetch.host, fetch.view):
        return None
    host = inventory.registry.get(fetch.host)
    return (host, fetch.file.stat().st_size) if host is not None else None
