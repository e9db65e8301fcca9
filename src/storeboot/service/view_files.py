"""Finds the files of a view for machines to fetch."""

from __future__ import annotations

from pathlib import Path

import structlog

from storeboot.deploy.state import ViewRecord
from storeboot.errors import StorebootError
from storeboot.pack.builder import hot_files
from storeboot.service.assignments import Assignments
from storeboot.service.current import Current
from storeboot.service.refusals import UnavailableError
from storeboot.service.work import MAKE_SECONDS, Work

log = structlog.get_logger()


class ViewFiles:
    """Finds files. Methods return None for a view that is not kept, or a pack that does not
    exist."""

    def __init__(self, current: Current, work: Work, assignments: Assignments) -> None:
        self._current = current
        self._work = work
        self._assignments = assignments

    async def kernel(self, view: str) -> Path | None:
        found = await self._assignments.of_view(view)
        return found.system.kernel if found is not None else None

    async def initrd(self, view: str, host: str) -> Path | None:
        """Return the initrd for the named host, or any if no host is named."""
        found = await self._assignments.of_view(view, host)
        return found.initrd.path if found is not None else None

    async def pack(self, view: str, name: str) -> Path | None:
        return await self._work.ask(self._current.inventory.systems.packs.file, view, name)

    async def hot_files(self, view: str, name: str) -> set[bytes] | None:
        """Return the files whose data the pack has, as paths below the store directory."""
        file = await self.pack(view, name)
        if file is None:
            return None
        return set(await self._work.making.run(MAKE_SECONDS, hot_files, file))

    async def record(self, view: str) -> ViewRecord | None:
        """Return the record of the view."""
        found = await self._assignments.of_view(view)
        return found.view if found is not None else None

    async def database(self, view: str) -> Path | None:
        """Return Nix's own database of the closure; raise UnavailableError if it cannot be made."""
        found = await self.record(view)
        if found is None:
            return None
        make = self._current.inventory.state.views.database
        try:
            return await self._work.making.run(MAKE_SECONDS, make, found)
        except (StorebootError, OSError) as error:
            log.error("nix.no_database", view=found.view_id, reason=str(error))
            raise UnavailableError("the server cannot make the database") from None
