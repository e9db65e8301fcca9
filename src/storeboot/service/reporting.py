"""Writes the reports that machines send to disk, piece by piece."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from contextlib import AbstractContextManager
from typing import ParamSpec, Protocol, TypeVar

import structlog

from storeboot.deploy.reports import MAX_PART, NoRoomError, Part, Reports
from storeboot.hosts.boot import Boot
from storeboot.hosts.database import DatabaseAwayError
from storeboot.service.current import Current
from storeboot.service.refusals import (
    BusyError,
    CutShortError,
    NotAskedError,
    NotKeptError,
    OutdatedError,
)
from storeboot.service.waits import Background
from storeboot.service.work import Work

log = structlog.get_logger()
P = ParamSpec("P")
T = TypeVar("T")
WRITE_SECONDS = 20.0  # for one piece; a disk that takes longer gets no more
REPORTS_PER_HOST = 4
_PIECE = 256 << 10  # bytes that are written at a time


class Upload(Protocol):
    """Data that a machine sends, and that is read only when it is wanted.

    `serve` implements it, and raises its own errors from it.
    """

    def size(self, limit: int) -> int:
        """Return its length in bytes; raise an error if it is above the limit."""
        ...

    def place(self) -> AbstractContextManager[None]:
        """Return a context to hold while reading: only a limited number of uploads are read at a
        time."""
        ...

    def pieces(self, limit: int) -> AsyncIterator[bytes]: ...


class Reporting:
    """Stores reports, with limits on their number and size."""

    def __init__(self, current: Current, work: Work, reports: Reports) -> None:
        self._current = current
        self._work = work
        self._reports = reports
        self._background = Background()

    async def keep(self, boot: Boot, part: str, upload: Upload) -> None:
        """Store a part of a report; raise the reason if it is not stored.

        Unknown machines that boot like a host may not report, because their number has no limit.
        """
        host = await self._work.ask(self._current.inventory.registry.get, boot.host)
        if host is None or host.like is not None:
            raise NotAskedError("only known hosts may send reports")
        size = upload.size(MAX_PART)
        newest = await self._newest(boot.host)
        if newest is not None and boot.id not in newest:
            raise OutdatedError("other boots of this host were heard of since")
        with upload.place():
            try:
                begin = self._reports.begin
                begun = await self._blocking(begin, boot.host, boot.id, part, size, newest)
                await self._fill(begun, size, upload.pieces(size))
            except NoRoomError as error:
                raise NotKeptError(error.message) from None
            except OSError as error:
                log.error("report.not_kept", host=boot.host, boot=boot.id, part=part,
                          reason=str(error))  # fmt: skip
                raise NotKeptError("the server's disk does not take the report") from None

    async def _newest(self, host: str) -> set[str] | None:
        """Return the host's boots whose reports are kept, or None if they cannot be determined."""
        newest = self._current.inventory.boots.newest
        try:
            return await self._work.ask(newest, host, REPORTS_PER_HOST)
        except DatabaseAwayError:
            return None

    async def _fill(self, begun: Part, size: int, pieces: AsyncIterator[bytes]) -> None:
        some, came = bytearray(), 0
        try:
            async for piece in pieces:
                came += len(piece)
                some += piece
                if len(some) >= _PIECE:
                    await self._blocking(begun.write, bytes(some))
                    some.clear()
            if came != size:
                raise CutShortError("the body ended early")
            await self._blocking(begun.write, bytes(some))
            await self._blocking(begun.finish)
        except BaseException:
            # Runs after pieces that are still being written; the caller no longer waits.
            self._background.start(self._blocking(begun.abandon))
            raise

    async def _blocking(self, function: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
        try:
            return await self._work.reports.run(WRITE_SECONDS, function, *args, **kwargs)
        except TimeoutError:
            raise BusyError("the server's disk does not answer") from None
