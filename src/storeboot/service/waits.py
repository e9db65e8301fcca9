"""Waiting, with an end; nothing else of this package knows asyncio."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Coroutine
from concurrent.futures import Future
from typing import Any, TypeVar

from storeboot.service.happenings import Happening

T = TypeVar("T")


async def within(seconds: float, work: Awaitable[T]) -> T:
    """Return what the work returns; TimeoutError if that takes longer."""
    async with asyncio.timeout(seconds):
        return await work


async def is_written(told: Future[bool], seconds: float) -> bool:
    """Wait until a record is told of; return whether it was written in time."""
    try:
        return await within(seconds, asyncio.wrap_future(told))
    except TimeoutError:
        return False


async def together(*works: Awaitable[None]) -> None:
    """Do all of it at the same time."""
    await asyncio.gather(*works)


class Background:
    """Work that nobody waits for."""

    def __init__(self) -> None:
        self._tasks: set[asyncio.Task[Any]] = set()

    def start(self, work: Coroutine[Any, Any, object]) -> None:
        task = asyncio.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)


class Changes(asyncio.Condition):
    """Wakes whoever waits for something to happen; a listener to all that happens."""

    async def heard(self, _happening: Happening) -> tuple[()]:
        await self.tell()
        return ()

    async def tell(self) -> None:
        """Something has changed."""
        async with self:
            self.notify_all()
