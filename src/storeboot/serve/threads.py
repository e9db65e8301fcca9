"""Threads for what blocks. Each kind of work has its own, so that none waits for another kind.

Threads here never keep the process from ending, and nobody waits for one without an end.
"""

from __future__ import annotations

import asyncio
import threading
from collections import deque
from collections.abc import Callable
from concurrent.futures import Future
from typing import Any, ParamSpec, TypeVar

from storeboot.hosts.database import Database
from storeboot.service.work import Work

P = ParamSpec("P")
T = TypeVar("T")
MAX_WAITING = 10_000
IDLE_SECONDS = 30.0  # after which a thread with nothing to do ends


class Pool:
    """So many threads at most; they are started as they are needed."""

    def __init__(self, name: str, threads: int) -> None:
        self._name = name
        self._most = threads
        self._changed = threading.Condition()
        self._waiting: deque[tuple[Future[Any], Callable[[], Any]]] = deque()
        self._threads = 0
        self._idle = 0

    async def run(
        self, seconds: float, function: Callable[P, T], *args: P.args, **kwargs: P.kwargs
    ) -> T:
        """What the function returns, within so many seconds; TimeoutError else.

        What has not begun by then does not begin any more; what has begun goes on unheeded.
        """
        future: Future[T] = Future()
        with self._changed:
            if len(self._waiting) >= MAX_WAITING:
                raise TimeoutError(f"too much waits for {self._name}")
            self._waiting.append((future, lambda: function(*args, **kwargs)))
            if len(self._waiting) > self._idle and self._threads < self._most:
                self._threads += 1
                threading.Thread(target=self._work, name=self._name, daemon=True).start()
            else:
                self._changed.notify()
        try:
            async with asyncio.timeout(seconds):
                return await asyncio.wrap_future(future)
        finally:
            future.cancel()

    def _work(self) -> None:
        while True:
            with self._changed:
                while not self._waiting:
                    self._idle += 1
                    came = self._changed.wait(IDLE_SECONDS)
                    self._idle -= 1
                    if not came and not self._waiting:
                        self._threads -= 1
                        return
                future, call = self._waiting.popleft()
            if not future.set_running_or_notify_cancel():
                continue
            try:
                result = call()
            except BaseException as error:  # raised where it is waited for
                future.set_exception(error)
            else:
                future.set_result(result)


def pools(database: Database) -> Work:
    """Return the pools of a server."""
    return Work(
        database=database,
        asking=Pool("asking", 8),
        boots=Pool("boots", 16),
        deciding=Pool("deciding", 4),
        making=Pool("making", 4),
        chores=Pool("chores", 4),
        reports=Pool("reports", 4),
    )
