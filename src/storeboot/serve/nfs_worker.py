"""One NFS worker process: `python -m storeboot.serve.nfs_worker FD`, started by `nfs_workers`.

Settings and then connections come over the socket FD. When that ends, so does the worker: its
parent is gone, and the next one has workers of its own.
"""

from __future__ import annotations

import array
import asyncio
import json
import os
import socket
import sys
import tempfile
import time
from contextlib import suppress
from pathlib import Path

import structlog

from storeboot import log
from storeboot.deploy.state import StateDirectory
from storeboot.nfs.program import Programs
from storeboot.nfs.v4.clients import Peer
from storeboot.nix.store import Store
from storeboot.serve import loop
from storeboot.serve.nfs_service import NfsService
from storeboot.serve.nfs_workers import MESSAGE, WorkerSettings
from storeboot.serve.store_tree import StoreTree

logger = structlog.get_logger()


class Worker:
    """A service that is fed by the process that accepts."""

    def __init__(self, settings: WorkerSettings, channel: socket.socket) -> None:
        programs = Programs(
            bytes.fromhex(settings.key), settings.service, time.monotonic,
            lease=settings.lease, reply_memory=settings.reply_memory,
        )  # fmt: skip
        tree = StoreTree(
            Store(Path(settings.store)), StateDirectory(Path(settings.state_directory))
        )
        self._service = NfsService(programs, tree, self._left)
        self._scratch = settings.state_directory
        self._channel = channel
        self._unsaid: list[bytes] = []
        self.ended = asyncio.Event()

    def hear(self) -> None:
        """One message of the parent's: a connection, or a question."""
        try:
            message, descriptors = _receive(self._channel)
        except BlockingIOError:
            return
        except OSError:
            message, descriptors = b"", []
        if not message:
            self.ended.set()
            return
        words = json.loads(message)
        if "address" in words:
            alias = words["alias"]
            peer = Peer(words["address"], bytes.fromhex(alias) if alias else None)
            if descriptors:
                self._service.adopt(socket.socket(fileno=descriptors[0]), peer)
            else:  # there was no room for another descriptor here
                logger.error("nfs.too_many_files", peer=peer.address)
                self._left(peer)
        elif "reads" in words:
            self._tell_reads(words["reads"])
        else:
            counts = [[*key, count] for key, count in self._service.programs.calls.items()]
            self._say({"calls": counts})

    def _tell_reads(self, address: str) -> None:
        """In a file: they can be more than a message holds."""
        files = self._service.take_reads(address)
        descriptor, name = tempfile.mkstemp(prefix="reads-", dir=self._scratch)
        with os.fdopen(descriptor, "wb") as stream:
            stream.write(b"\0".join(sorted(files)))
        self._say({"reads": name})

    async def stop(self) -> None:
        await self._service.stop()

    def _left(self, peer: Peer) -> None:
        self._say({"left": peer.address})

    def _say(self, words: dict[str, object]) -> None:
        """In order; what the channel has no room for waits until it has."""
        self._unsaid.append(json.dumps(words).encode())
        self._say_all()

    def _say_all(self) -> None:
        running = asyncio.get_running_loop()
        running.remove_writer(self._channel)
        with suppress(BrokenPipeError, ConnectionResetError):
            while self._unsaid:
                try:
                    self._channel.send(self._unsaid[0])
                except BlockingIOError:
                    running.add_writer(self._channel, self._say_all)
                    return
                self._unsaid.pop(0)


def _receive(channel: socket.socket) -> tuple[bytes, list[int]]:
    """One message with at most one descriptor (socket.recv_fds has no room for close-on-exec)."""
    space = socket.CMSG_LEN(array.array("i").itemsize)
    message, extra, _flags, _address = channel.recvmsg(MESSAGE, space, socket.MSG_CMSG_CLOEXEC)
    descriptors = array.array("i")
    for level, kind, data in extra:
        if level == socket.SOL_SOCKET and kind == socket.SCM_RIGHTS:
            descriptors.frombytes(data[: len(data) - len(data) % descriptors.itemsize])
    return message, list(descriptors)


async def work(channel: socket.socket) -> None:
    settings = WorkerSettings(**json.loads(channel.recv(MESSAGE)))
    log.set_up(verbose=settings.verbose)
    channel.setblocking(False)
    worker = Worker(settings, channel)
    asyncio.get_running_loop().add_reader(channel, worker.hear)
    await worker.ended.wait()
    await worker.stop()


if __name__ == "__main__":
    loop.run(work(socket.socket(fileno=int(sys.argv[1]))), nfs=True)
