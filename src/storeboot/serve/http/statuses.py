"""Turns the service's refusals into HTTP statuses. No other module does this."""

from __future__ import annotations

import re
from collections.abc import Awaitable, Callable

import structlog
from aiohttp import web

from storeboot.hosts.database import DatabaseAwayError
from storeboot.service.refusals import (
    BusyError,
    CutShortError,
    NotAskedError,
    NotKeptError,
    OutdatedError,
    RefusedError,
    ReplayError,
    UnavailableError,
)

log = structlog.get_logger()
Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]
_STATUSES: dict[type[Exception], type[web.HTTPException]] = {
    CutShortError: web.HTTPBadRequest,
    NotAskedError: web.HTTPForbidden,
    NotKeptError: web.HTTPInsufficientStorage,
    OutdatedError: web.HTTPConflict,
    UnavailableError: web.HTTPServiceUnavailable,
}


@web.middleware
async def refusals(request: web.Request, handler: Handler) -> web.StreamResponse:
    """Turn a refusal into an HTTP status with the reason in the status line.

    busybox's wget shows nothing else. A machine asks again after 503, and gives up after 403.
    """
    try:
        return await handler(request)
    except RefusedError as error:
        return _refusal(403, str(error))
    except ReplayError as error:
        return _refusal(409, str(error))
    except tuple(_STATUSES) as error:
        raise _STATUSES[type(error)](reason=str(error)) from None
    except (BusyError, DatabaseAwayError, TimeoutError) as error:
        log.warning("http.busy", path=request.path, reason=str(error))
        return _refusal(503, str(error) or "the server does not answer in time")


def _refusal(status: int, reason: str) -> web.Response:
    return web.Response(status=status, reason=one_line(reason), text=f"{reason}\n")


def one_line(text: str) -> str:
    """Return the text in a form that fits into a status line or on a console."""
    return re.sub(r"[^ -~]", "?", text)[:200]
