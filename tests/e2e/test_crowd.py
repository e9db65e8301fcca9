"""Sixteen processes on one mount list, stat and read at once, as no hand-written client does.

Linux sends the calls of all of them over one connection without waiting for replies, so that its
replies fill the server's queue and its socket.
"""

from __future__ import annotations

import asyncio
import os
from collections import Counter
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from hashlib import sha256
from pathlib import Path

import pytest

from e2e.systems import CACHE
from integration.views import write_view
from storeboot.deploy.state import make_state_directory
from storeboot.nfs.handle import MountToken
from storeboot.nfs.limits import LEASE_SECONDS
from storeboot.nfs.program import Programs
from storeboot.nfs.v4.clients import Peer
from storeboot.nix.store import Store
from storeboot.serve.nfs.channel import WorkerSettings
from storeboot.serve.nfs.listener import Backend, NfsListener
from storeboot.serve.nfs.service import NfsService
from storeboot.serve.nfs.store_tree import StoreTree
from storeboot.serve.nfs.workers import NfsWorkers
from storeboot.vm.demo.packages import Suite
from storeboot.vm.demo.uml_kernel import uml_kernel
from storeboot.vm.errand import run_in_uml
from storeboot.vm.qemu import HOST_ADDRESS

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(1800)]
SCRIPT = Path(__file__).with_name("crowd.sh")
NAME = "c" * 32 + "-crowd"
DIRECTORIES = 16
NAMES = 600  # so many that the replies of a few listings fill a connection's queue
DATA = 2 << 20  # bytes of the file in each directory that is read
VERSIONS = ("3", "4.0", "4.1", "4.2")
WORKERS = (0, 1, 2)


def make_tree(store: Path) -> None:
    top = store / NAME
    for number in range(DIRECTORIES):
        directory = top / f"directory{number}"
        directory.mkdir(parents=True)
        block = sha256(b"%d" % number).digest()
        (directory / "data").write_bytes(block * (DATA // len(block)))
        first = directory / file_name(0)
        first.write_text("x")
        for other in range(1, NAMES):
            os.link(first, directory / file_name(other))


def file_name(number: int) -> str:
    return f"{number:05d}".ljust(32, "n")


def expected() -> str:
    """Return the hash of what all visits say."""
    said = []
    files = [f"1 ./{file_name(number)}" for number in range(NAMES)]
    names = [".", "./data", *(f"./{file_name(number)}" for number in range(NAMES))]
    attributes = _lines(sorted([*files, f"{DATA} ./data"]))
    for number in sorted(map(str, range(DIRECTORIES))):
        data = sha256(sha256(number.encode()).digest() * (DATA // 32)).hexdigest()
        said += [str(NAMES + 1), attributes, f"{data}  data", _lines(sorted(names))]
    return _lines(said)


def _lines(lines: list[str]) -> str:
    return sha256("".join(line + "\n" for line in lines).encode()).hexdigest()


@asynccontextmanager
async def serving(root: Path, workers: int) -> AsyncIterator[tuple[int, str]]:
    """Serve one view by so many workers; give the port and the path to mount."""
    state = make_state_directory(root / "state")
    view = write_view(state, NAME)
    key = state.server_key.get()
    programs = Programs(key, f"crowd-{workers}", asyncio.get_running_loop().time)

    def backend(on_closed: Callable[[Peer], None]) -> Backend:
        if not workers:
            return NfsService(programs, StoreTree(Store(root), state), on_closed)
        settings = WorkerSettings(
            key=key.hex(), service=f"crowd-{workers}", lease=LEASE_SECONDS,
            reply_memory=16 << 20, store=str(root), state_directory=str(state.path),
        )  # fmt: skip
        return NfsWorkers(settings, workers, on_closed)

    listener = NfsListener(backend)
    port = await listener.start("127.0.0.1", 0)
    token = programs.codec.encode_token(MountToken(view, bytes(8)))
    try:
        yield port, f"/view/{token}"
    finally:
        await listener.stop()


@pytest.mark.parametrize("suite", [pytest.param("trixie", marks=pytest.mark.machines), "bookworm"])
async def test_sixteen_processes_finish(suite: Suite, tmp_path: Path) -> None:
    kernel = await asyncio.to_thread(uml_kernel, CACHE, suite)
    await asyncio.to_thread(make_tree, tmp_path / "nix" / "store")
    async with (
        serving(tmp_path, 0) as (port_0, path),
        serving(tmp_path, 1) as (port_1, _),
        serving(tmp_path, 2) as (port_2, _),
    ):
        variables = {
            "server": HOST_ADDRESS,
            "path": path,
            "name": NAME,
            "versions": " ".join(VERSIONS),
            "workers": " ".join(map(str, WORKERS)),
            "port_0": str(port_0),
            "port_1": str(port_1),
            "port_2": str(port_2),
        }
        text = await run_in_uml(
            kernel, tmp_path / "run", SCRIPT.read_text(), variables, seconds=700, memory=768
        )
    finished = Counter(tuple(line.split(" after ")[0].split()) for line in text.splitlines())
    said = expected()
    assert finished == {
        (str(count), version, said, str(DIRECTORIES)): 1
        for count in WORKERS
        for version in VERSIONS
    }
