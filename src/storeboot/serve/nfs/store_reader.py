"""Reads directories and opens files for the NFS service, in threads of its own.

A disk may be slow, or never answer. A call waits a bounded time, and its client is then told to ask
again later. The thread goes on, and the next call finds what it has read.
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
MAX_PENDING = 1024  # different things that calls wait for

T = TypeVar("T")


class StoreReader:
    """Reads each place only once for all calls that wait for it."""

    def __init__(self, tree: StoreTree, files: OpenFiles) -> None:
        self._tree = tree
        self._files = files
        self._pending: dict[Hashable, asyncio.Task[Any]] = {}
        self._start_threads()

    async def load(self, missing: NotLoadedError) -> View | Index | None:
        """Return a view or an index, or None if it does not exist; TimeoutError if the disk is too
        slow."""
        key = (missing.view if missing.store_name is None else b"", missing.store_name)
        return await self._once(key, lambda: self._load(missing))

    async def open(self, data: FileSlice) -> None:
        """Open a file and keep it among the open ones; TimeoutError if the disk is too slow."""
        if not self._files.has(data):
            key = (data.store_path, data.relative, data.size)
            await self._once(key, lambda: self._open(data))

    def stop(self) -> None:
        """Stop waiting. Threads that hang in the kernel are abandoned."""
        for task in list(self._pending.values()):
            task.cancel()
        for threads in (self._loads, self._opens):
            threads.shutdown(wait=False, cancel_futures=True)
        self._start_threads()

    def _start_threads(self) -> None:
        """Start the threads, when there is work for the first time."""
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
            task.exception()  # whoever waited got the exception; do not log it

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
    """Close a file that a thread has opened after nobody waited for it any more."""
    if not job.cancelled() and job.exception() is None:
        os.close(job.result())
