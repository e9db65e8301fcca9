"""An NFS service of one view with one store path, without a system."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

from storeboot.deploy.state import StateDirectory, make_state_directory
from storeboot.nfs.handle import MountToken
from storeboot.nfs.program import Programs
from storeboot.nfs.views import view_id
from storeboot.nix.store import Store
from storeboot.serve.nfs.listener import NfsListener
from storeboot.serve.nfs.service import NfsService
from storeboot.serve.nfs.store_tree import StoreTree


@dataclass(frozen=True)
class Served:
    """A service on loopback, and the path to mount."""

    service: NfsService
    port: int
    path: str


def write_view(state: StateDirectory, name: str) -> bytes:
    """Write a view that has one store path and no system; return its id."""
    text = f"/nix/store/{name}"
    view = view_id([text])
    registration = f"{text}\n{'0' * 64}\n1\n\n0\n"
    record = {"toplevels": [text], "paths": [text], "registration": registration}
    (state.path / "views" / f"{view.hex()}.json").write_text(json.dumps(record))
    return view


@asynccontextmanager
async def serving(root: Path, name: str) -> AsyncIterator[Served]:
    """Serve the store path `name` of the store below `root`; the state directory is there too."""
    state = make_state_directory(root / "state")
    view = write_view(state, name)
    programs = Programs(state.server_key.get(), "one-view", asyncio.get_running_loop().time)
    made: list[NfsService] = []

    def backend(on_closed: object) -> NfsService:
        made.append(NfsService(programs, StoreTree(Store(root), state), on_closed))  # type: ignore[arg-type]
        return made[0]

    listener = NfsListener(backend)
    port = await listener.start("127.0.0.1", 0)
    token = programs.codec.encode_token(MountToken(view, bytes(8)))
    try:
        yield Served(made[0], port, f"/view/{token}")
    finally:
        await listener.stop()
