"""`python -m bench.nfs.serve DIRECTORY PORT WORKERS`: our NFS server over a prepared state."""

from __future__ import annotations

import asyncio
import sys
import time
from collections.abc import Callable
from pathlib import Path

from storeboot import log
from storeboot.nfs.limits import LEASE_SECONDS, REPLY_MEMORY
from storeboot.nfs.program import Programs
from storeboot.nfs.v4.clients import Peer
from storeboot.nix.store import Store
from storeboot.serve.nfs_listener import Backend, NfsListener
from storeboot.serve.nfs_service import NfsService
from storeboot.serve.nfs_workers import NfsWorkers, WorkerSettings
from storeboot.serve.state import StateDirectory
from storeboot.serve.store_tree import StoreTree


async def main(directory: Path, port: int, workers: int) -> None:
    log.set_up(quiet=True)
    state = StateDirectory(directory / "state")
    key = state.key()

    def backend(on_closed: Callable[[Peer], None]) -> Backend:
        if workers:
            settings = WorkerSettings(
                key.hex(), "bench", LEASE_SECONDS, REPLY_MEMORY, str(directory), str(state.path)
            )
            return NfsWorkers(settings, workers, on_closed)
        tree = StoreTree(Store(directory), state)
        return NfsService(Programs(key, "bench", time.monotonic), tree, on_closed)

    listener = NfsListener(backend)
    await listener.start("127.0.0.1", port)
    print("ready", flush=True)
    await asyncio.Event().wait()


if __name__ == "__main__":
    asyncio.run(main(Path(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3])))
