"""Which files an address has read over NFS since this was asked last, as far as can be told."""

from __future__ import annotations

from collections.abc import Awaitable, Callable

import structlog

from storeboot.service.waits import within

log = structlog.get_logger()
READS_SECONDS = 5.0


class StoreReads:
    """Asks the processes that answer NFS, and waits for none of them without an end."""

    def __init__(self, ask: Callable[[str], Awaitable[set[bytes]]]) -> None:
        self._ask = ask

    async def of(self, address: str) -> set[bytes]:
        """Paths below the store directory; none from workers that do not answer."""
        try:
            return await within(READS_SECONDS, self._ask(address))
        except TimeoutError:
            log.warning("nfs.reads_not_told", address=address)
            return set()
