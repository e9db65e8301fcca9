"""The work of an NFS worker process, until its parent closes the connection.

Settings, then connections, come over a socket. When the socket is closed, the worker ends: its
parent is gone, and the next parent starts its own workers. A parent that is merely silent changes
nothing.
"""

from __future__ import annotations

import asyncio
import json
import os
import socket
import time
from pathlib import Path

import structlog

from storeboot import log
from storeboot.deploy.state import StateDirectory
from storeboot.nfs.program import Programs
from storeboot.nfs.refusal import Refusal
from storeboot.nfs.v4.clients import Peer
from storeboot.nix.store import Store
from storeboot.serve.nfs.channel import MESSAGE, Channel, Words, WorkerSettings
from storeboot.serve.nfs.rarely import Rarely
from storeboot.serve.nfs.service import NfsService
from storeboot.serve.nfs.store_tree import StoreTree

logger = structlog.get_logger()


class Worker:
    """A service that gets its connections from the process that accepts them."""

    def __init__(self, settings: WorkerSettings, end: socket.socket) -> None:
        programs = Programs(
            bytes.fromhex(settings.key), settings.service, time.monotonic,
            lease=settings.lease, reply_memory=settings.reply_memory,
        )  # fmt: skip
        tree = StoreTree(
            Store(Path(settings.store)), StateDirectory(Path(settings.state_directory))
        )
        self._service = NfsService(programs, tree, self._left)
        self._peers: dict[int, Peer] = {}
        self._numbers: dict[Peer, int] = {}
        self._rarely = Rarely()
        self.ended = asyncio.Event()
        self._channel = Channel(end, self._hear, self.ended.set)

    async def stop(self) -> None:
        self._channel.close()
        await self._service.stop()

    def _hear(self, words: Words, descriptor: int | None) -> None:
        """Handle a message: a new connection, one to close, or a question."""
        if "connection" in words:
            self._adopt(words, descriptor)
        elif "drop" in words:
            peer = self._peers.get(words["drop"])
            if peer is not None:
                self._service.drop(peer)
        else:
            self._answer(words["ask"], words)

    def _adopt(self, words: Words, descriptor: int | None) -> None:
        number, alias = words["connection"], words["alias"]
        view = bytes.fromhex(alias) if alias else Refusal[words["no_alias"]]
        peer = Peer(words["address"], view, on_proof=self._proved, on_refusal=self._refused)
        self._peers[number], self._numbers[peer] = peer, number
        if descriptor is None:  # no file descriptor was free here to receive it
            logger.error("nfs.too_many_files", peer=peer.address)
            self._left(peer)
        else:
            self._service.adopt(socket.socket(fileno=descriptor), peer)

    def _answer(self, number: int, words: Words) -> None:
        """Answer a question of the parent; every answer is a sign that this loop runs."""
        answer: Words = {"answer": number}
        descriptor = None
        if words["what"] == "calls":
            counts = self._service.programs.calls.items()
            answer["calls"] = [[*key, count] for key, count in counts]
        elif words["what"] == "reads":
            descriptor = _in_memory(self._service.take_reads(words["address"]))
        elif words["what"] == "silence":
            answer["silence"] = self._service.take_silence(words["address"])
        self._channel.say(answer, descriptor)

    def _proved(self, peer: Peer) -> None:
        self._channel.say({"proven": self._numbers[peer]})

    def _refused(self, peer: Peer, refusal: Refusal) -> None:
        """Tell the parent of a refused mount. A peer that must connect again is always told of."""
        if peer.alias is Refusal.PASSING or self._rarely.now((peer.address, refusal)):
            self._channel.say({"refused": self._numbers[peer], "why": refusal.name})

    def _left(self, peer: Peer) -> None:
        number = self._numbers.pop(peer)
        del self._peers[number]
        self._channel.say({"left": number})


def _in_memory(names: set[bytes]) -> int | None:
    """Return a descriptor of an unnamed file with the names, or None if there is no memory for it.

    The names may be more than fit into a message.
    """
    try:
        descriptor = os.memfd_create("reads", os.MFD_CLOEXEC)
    except OSError:
        return None
    with os.fdopen(descriptor, "wb", closefd=False) as stream:
        stream.write(b"\0".join(sorted(names)))
    return descriptor


async def work(end: socket.socket) -> None:
    """Serve until the parent closes the connection."""
    settings = WorkerSettings(**json.loads(end.recv(MESSAGE)))
    log.set_up(verbose=settings.verbose)
    worker = Worker(settings, end)
    await worker.ended.wait()
    await worker.stop()
