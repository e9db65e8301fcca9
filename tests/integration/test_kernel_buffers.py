"""What the kernel keeps of replies that nobody takes."""

from __future__ import annotations

import asyncio
import fcntl
import socket
import termios
from pathlib import Path

from integration.nfs_client import NFS, NfsClient
from integration.views import serving
from nfs_codec import call, marked, opaque

CLIENTS = 100
BOUND = 3 << 19  # bytes that wait in the kernel for one connection
SIZE = 8 << 20


async def test_replies_that_nobody_takes_do_not_fill_the_kernel(tmp_path: Path) -> None:
    """A hundred clients ask for sixteen megabytes each, and read none of it."""
    file = tmp_path / "nix" / "store" / f"{'b' * 32}-big" / "data"
    file.parent.mkdir(parents=True)
    file.write_bytes(bytes(SIZE))
    async with serving(tmp_path, file.parent.name) as served:
        with await asyncio.to_thread(NfsClient, served.port) as first:
            root = await asyncio.to_thread(first.mount, served.path)
            assert root is not None
            top = await asyncio.to_thread(first.lookup, root, file.parent.name.encode())
            assert top is not None
            handle = await asyncio.to_thread(first.lookup, top, b"data")
            assert handle is not None
            assert await asyncio.to_thread(first.read, handle) == bytes(1 << 20)
        record = call(NFS, 3, 6, opaque(handle) + bytes(8) + (1 << 20).to_bytes(4))
        asked = marked(record) * 16
        clients = [_greedy(served.port, asked, f"127.0.1.{n + 1}") for n in range(CLIENTS)]
        connections = served.service.connections
        async with asyncio.timeout(30):
            while sum(each._writing for each in connections) < CLIENTS:  # noqa: ASYNC110
                await asyncio.sleep(0.05)
        waiting = [_unsent(each._socket) for each in connections]
        assert max(waiting) <= BOUND
        for client in clients:
            client.close()


def _greedy(port: int, asked: bytes, source: str) -> socket.socket:
    """Return a client that has asked and takes as little as it can."""
    client = socket.socket()
    client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
    client.bind((source, 0))
    client.connect(("127.0.0.1", port))
    client.sendall(asked)
    return client


def _unsent(connection: socket.socket) -> int:
    """Return how many bytes of a socket the kernel keeps until the peer takes them (tcp(7))."""
    size = fcntl.ioctl(connection, termios.TIOCOUTQ, bytes(4))
    return int.from_bytes(size, "little")
