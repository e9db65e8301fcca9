"""Threads for work that blocks. Each kind of work has its own, so that no kind waits for another.

These threads never keep the process from ending, and every wait for one has a time limit.
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
IDLE_SECONDS = 30.0  # after which an idle thread ends


class Pool:
    """A limited number of threads, which are started when they are needed."""

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
        """Call the function in a thread and return its result; raise TimeoutError after `seconds`.

        A call that has not begun by then is dropped. A call that has begun goes on, and its result
        is ignored.
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
            except BaseException as error:  # raised again where the result is awaited
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
