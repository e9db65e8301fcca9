"""What could not be written down, and why: for whoever operates the server."""

from __future__ import annotations

from dataclasses import dataclass

from storeboot.deploy.disk import shortage
from storeboot.service.bookkeeping import Bookkeeping
from storeboot.service.current import Current
from storeboot.service.work import Work


@dataclass(frozen=True, slots=True)
class Health:
    """How it is at the moment."""

    database: str | None  # why it is away
    since: float | None  # in seconds since 1970
    waiting: dict[str, int]  # records that are to be written, by kind
    lost: dict[str, int]  # records that will never be written
    disk: str | None  # what there is too little of


async def health(current: Current, work: Work, books: Bookkeeping) -> Health:
    away, missing = work.database.away, books.unrecorded()
    return Health(
        database=away.reason if away is not None else None,
        since=away.since if away is not None else None,
        waiting=missing.waiting,
        lost=missing.lost,
        disk=await work.ask(shortage, current.inventory.state.path),
    )
