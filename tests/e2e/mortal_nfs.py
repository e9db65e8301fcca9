"""An NFS server that dies: `python -m e2e.mortal_nfs STORE STATE ADDRESS PORT CALLS`.

It kills itself with SIGKILL in the middle of the call with that number, before it is answered, and
with whatever else was on its way. 0 stands for never. It prints when it hears its first call.
"""

from __future__ import annotations

import asyncio
import os
import signal
import sys
import time
from pathlib import Path

from typing_extensions import override

from storeboot import log
from storeboot.deploy.state import StateDirectory
from storeboot.nfs.program import Programs
from storeboot.nfs.v4.clients import Peer
from storeboot.nfs.xdr import Segment
from storeboot.nix.store import Store
from storeboot.serve.nfs.listener import NfsListener
from storeboot.serve.nfs.service import NfsService
from storeboot.serve.nfs.store_tree import StoreTree


class MortalService(NfsService):
    """Counts its calls down."""

    left = 0
    heard = False

    @override
    def answer(self, record: bytes, peer: Peer) -> list[Segment]:
        if not self.heard:
            self.heard = True
            print(f"heard {time.monotonic()}", flush=True)  # noqa: T201 - it is the parent's to read
        self.left -= 1
        if self.left == 0:
            os.kill(os.getpid(), signal.SIGKILL)
        return super().answer(record, peer)


async def main(store: Path, state: Path, address: str, port: int, calls: int) -> None:
    log.set_up()
    directory = StateDirectory(state)
    programs = Programs(directory.server_key.get(), f"{address}:{port}", time.monotonic)
    service = MortalService(programs, StoreTree(Store(store), directory))
    service.left = calls
    listener = NfsListener(lambda _on_closed: service)
    await listener.start("127.0.0.1", port)
    await asyncio.Event().wait()


if __name__ == "__main__":
    arguments = sys.argv[1:]
    asyncio.run(main(Path(arguments[0]), Path(arguments[1]), arguments[2], int(arguments[3]),
                     int(arguments[4])))  # fmt: skip
