"""Asks which files a machine has read over NFS."""

from __future__ import annotations

from collections.abc import Awaitable, Callable

import structlog

from storeboot.service.waits import within

log = structlog.get_logger()
READS_SECONDS = 5.0


class StoreReads:
    """Asks the processes that answer NFS, with a time limit."""

    def __init__(self, ask: Callable[[str], Awaitable[set[bytes]]]) -> None:
        self._ask = ask

    async def of(self, address: str) -> set[bytes]:
        """Return what an address has read since the last call: paths below the store directory.

        Workers that do not answer in time are left out.
        """
        try:
            return await within(READS_SECONDS, self._ask(address))
        except TimeoutError:
            log.warning("nfs.reads_not_told", address=address)
            return set()
