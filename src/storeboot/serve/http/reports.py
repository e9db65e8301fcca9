"""Reports on their way from the network to the disk, piece by piece."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import ParamSpec, TypeVar

import structlog
from aiohttp import web

from storeboot.deploy.reports import MAX_PART, NoRoomError, Part
from storeboot.hosts.boots import Boot
from storeboot.hosts.database import DatabaseAwayError
from storeboot.serve.http.bodies import Bodies, pieces, size_of
from storeboot.serve.threads import BusyError
from storeboot.service.boot_service import BootService

log = structlog.get_logger()
P = ParamSpec("P")
T = TypeVar("T")
WRITE_SECONDS = 20.0  # for some of it; a disk that takes longer gets no more
REPORTS_PER_HOST = 4
_PIECE = 256 << 10  # bytes that are written at a time


async def receive(
    service: BootService, bodies: Bodies, boot: Boot, part: str, request: web.Request
) -> None:
    """Keep a part of a report; raises the HTTP status where it cannot be kept."""
    size = size_of(request, MAX_PART)
    newest = await _newest(service, boot.host)
    if newest is not None and boot.id not in newest:
        raise web.HTTPConflict(reason="other boots of this host were heard of since")
    with bodies.one_more(request):
        try:
            begun = await _blocking(
                service, service.reports.begin, boot.host, boot.id, part, size, newest
            )
            await _fill(service, begun, size, request)
        except NoRoomError as error:
            raise web.HTTPInsufficientStorage(reason=error.message) from None
        except OSError as error:
            log.error("report.not_kept", host=boot.host, boot=boot.id, part=part,
                      reason=str(error))  # fmt: skip
            raise web.HTTPInsufficientStorage(
                reason="the server's disk does not take the report"
            ) from None


async def _newest(service: BootService, host: str) -> set[str] | None:
    """The host's boots whose reports stay; None while nobody can say."""
    try:
        return await service.ask(service.boots.newest, host, REPORTS_PER_HOST)
    except DatabaseAwayError:
        return None


async def _fill(service: BootService, begun: Part, size: int, request: web.Request) -> None:
    some, came = bytearray(), 0
    try:
        async for piece in pieces(request, size):
            came += len(piece)
            some += piece
            if len(some) >= _PIECE:
                await _blocking(service, begun.write, bytes(some))
                some.clear()
        if came != size:
            raise web.HTTPBadRequest(reason="the body ended early")
        await _blocking(service, begun.write, bytes(some))
        await _blocking(service, begun.finish)
    except BaseException:
        # Behind what may still be written; whoever waits has gone.
        asyncio.get_running_loop().create_task(_blocking(service, begun.abandon))
        raise


async def _blocking(
    service: BootService, function: Callable[P, T], *args: P.args, **kwargs: P.kwargs
) -> T:
    try:
        return await service.threads.reports.run(WRITE_SECONDS, function, *args, **kwargs)
    except TimeoutError:
        raise BusyError("the server's disk does not answer") from None
