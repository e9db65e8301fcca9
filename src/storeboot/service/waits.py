"""Waiting, with a time limit. Only this module of the package uses asyncio."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Coroutine
from concurrent.futures import Future
from typing import Any, TypeVar

from storeboot.service.happenings import Happening

T = TypeVar("T")


async def within(seconds: float, work: Awaitable[T]) -> T:
    """Await the work and return its result; raise TimeoutError after `seconds`."""
    async with asyncio.timeout(seconds):
        return await work


async def is_written(told: Future[bool], seconds: float) -> bool:
    """Wait for a record to be written; return whether it was written in time."""
    try:
        return await within(seconds, asyncio.wrap_future(told))
    except TimeoutError:
        return False


async def together(*works: Awaitable[None]) -> None:
    """Await all of them at the same time."""
    await asyncio.gather(*works)


class Background:
    """Runs work that nobody awaits."""

    def __init__(self) -> None:
        self._tasks: set[asyncio.Task[Any]] = set()

    def start(self, work: Coroutine[Any, Any, object]) -> None:
        task = asyncio.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)


class Changes(asyncio.Condition):
    """Wakes everyone who waits for a change. It is a listener, so every event is a change."""

    async def heard(self, _happening: Happening) -> tuple[()]:
        await self.tell()
        return ()

    async def tell(self) -> None:
        """Wake everyone who waits."""
        async with self:
            self.notify_all()
