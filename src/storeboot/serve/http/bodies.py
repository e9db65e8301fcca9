"""Reads what machines send over HTTP, with limits on size, number and time. All bodies come
here."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import AsyncIterator, Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass, field

from aiohttp import web

MAX_SMALL = 64 << 10  # bytes; larger ones are counted
MAX_BODIES = 16  # large ones at the same time
MAX_PEER_BODIES = 4  # from one address
PIECE_SECONDS = 10.0  # without a byte
BODY_SECONDS = 15.0  # for a whole body, and one more for each so many bytes:
SLOWEST = 256 << 10


@dataclass(slots=True)
class Bodies:
    """The large bodies that are being received."""

    _counts: Counter[str] = field(default_factory=Counter)

    @contextmanager
    def one_more(self, request: web.Request) -> Iterator[None]:
        """Count a large body while it is received; HTTPServiceUnavailable if there are too many.

        An agent that gets this answer carries on without.
        """
        address = request.remote or ""
        if self._counts[address] >= MAX_PEER_BODIES or self._counts.total() >= MAX_BODIES:
            raise web.HTTPServiceUnavailable(reason="too many reports are being sent")
        self._counts[address] += 1
        try:
            yield
        finally:
            self._counts[address] -= 1
            if not self._counts[address]:
                del self._counts[address]


def size_of(request: web.Request, limit: int) -> int:
    """Return how long the body is; refuse it if it does not say, or is longer than the limit."""
    size = request.content_length
    if size is None or size > limit:
        raise web.HTTPRequestEntityTooLarge(limit, size or 0)
    if request.headers.get("Content-Encoding", "identity") != "identity":
        raise web.HTTPUnsupportedMediaType(reason="bodies must not be compressed")
    return size


async def pieces(request: web.Request, limit: int) -> AsyncIterator[bytes]:
    """Yield the body as it arrives; raise HTTPRequestTimeout if it arrives too slowly."""
    size = size_of(request, limit)
    try:
        async with asyncio.timeout(BODY_SECONDS + size / SLOWEST):
            while True:
                async with asyncio.timeout(PIECE_SECONDS):
                    piece = await request.content.readany()
                if not piece:
                    return
                yield piece
    except TimeoutError:
        raise web.HTTPRequestTimeout(reason="the body came too slowly") from None


async def whole(request: web.Request, limit: int) -> bytes:
    """Return all of a body that is small enough to be kept in memory."""
    return b"".join([piece async for piece in pieces(request, limit)])


@dataclass(frozen=True, slots=True)
class Body:
    """A large body that is only read when the service wants it (`reporting.Upload`)."""

    request: web.Request
    bodies: Bodies

    def size(self, limit: int) -> int:
        return size_of(self.request, limit)

    def place(self) -> AbstractContextManager[None]:
        return self.bodies.one_more(self.request)

    def pieces(self, limit: int) -> AsyncIterator[bytes]:
        return pieces(self.request, limit)
