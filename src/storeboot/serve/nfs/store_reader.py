"""What the NFS service waits for: directories and files, read and opened in threads of its own.

A disk may take its time, or never answer. Whoever asks waits a bounded time and is then told to ask
again later; the thread goes on, and who asks again finds what it has found.
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import Callable, Coroutine, Hashable
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any, TypeVar

from storeboot.nfs.index import Index
from storeboot.nfs.views import NotLoadedError, View
from storeboot.nfs.xdr import FileSlice
from storeboot.serve.nfs.open_files import OpenFiles
from storeboot.serve.nfs.store_tree import StoreTree

LOADS = 2  # directories that are read at the same time
OPENS = 4  # files that are opened at the same time
PATIENCE = 20.0  # seconds that a call waits for the disk
MAX_PENDING = 1024  # different things that are waited for

T = TypeVar("T")


class StoreReader:
    """Every place is read once for all who wait for it."""

    def __init__(self, tree: StoreTree, files: OpenFiles) -> None:
        self._tree = tree
        self._files = files
        self._pending: dict[Hashable, asyncio.Task[Any]] = {}
        self._start_threads()

    async def load(self, missing: NotLoadedError) -> View | Index | None:
        """A view or an index, None if there is none; TimeoutError if the disk does not answer."""
        key = (missing.view if missing.store_name is None else b"", missing.store_name)
        return await self._once(key, lambda: self._load(missing))

    async def open(self, data: FileSlice) -> None:
        """Have a file among the open ones; TimeoutError if the disk does not answer."""
        if not self._files.has(data):
            key = (data.store_path, data.relative, data.size)
            await self._once(key, lambda: self._open(data))

    def stop(self) -> None:
        """Nobody waits any more; threads that hang in the kernel are left to it."""
        for task in list(self._pending.values()):
            task.cancel()
        for threads in (self._loads, self._opens):
            threads.shutdown(wait=False, cancel_futures=True)
        self._start_threads()

    def _start_threads(self) -> None:
        """None runs before there is work for it."""
        self._loads = ThreadPoolExecutor(LOADS, "nfs-load")
        self._opens = ThreadPoolExecutor(OPENS, "nfs-open")

    async def _once(self, key: Hashable, work: Callable[[], Coroutine[Any, Any, T]]) -> T:
        task = self._pending.get(key)
        if task is None:
            if len(self._pending) >= MAX_PENDING:
                raise TimeoutError
            task = asyncio.get_running_loop().create_task(work())
            self._pending[key] = task
            task.add_done_callback(lambda done: self._forget(key, done))
        async with asyncio.timeout(PATIENCE):
            found: T = await asyncio.shield(task)
            return found

    def _forget(self, key: Hashable, task: asyncio.Task[Any]) -> None:
        del self._pending[key]
        if not task.cancelled():
            task.exception()  # who waited was told, unless nobody waits any more

    async def _load(self, missing: NotLoadedError) -> View | Index | None:
        return await asyncio.wrap_future(self._loads.submit(self._tree.load, missing))

    async def _open(self, data: FileSlice) -> None:
        place = (data.store_path, data.relative, data.size)
        job = self._opens.submit(self._tree.open, *place)
        try:
            descriptor = await asyncio.wrap_future(job)
        except asyncio.CancelledError:
            job.add_done_callback(_close_result)
            raise
        self._files.keep(data, descriptor)


def _close_result(job: Future[int]) -> None:
    """The thread opened the file after all, for nobody."""
    if not job.cancelled() and job.exception() is None:
        os.close(job.result())
