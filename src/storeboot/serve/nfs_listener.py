"""The NFS ports: who may connect, and which process serves it."""

from __future__ import annotations

import asyncio
import socket
from collections import Counter
from collections.abc import Callable
from contextlib import suppress
from typing import Protocol

import structlog

from storeboot.errors import StorebootError
from storeboot.nfs.v4.clients import Peer

log = structlog.get_logger()

MAX_CONNECTIONS = 4096
MAX_PEER_CONNECTIONS = 512  # from one address; a machine has one, or `nconnect` of them (16)
ACCEPTS = 64  # connections taken at a time, before others are served
BACKLOG = 1024


class Backend(Protocol):
    """What serves accepted connections: this process, or the pool of workers."""

    async def start(self) -> None: ...

    def adopt(self, connection: socket.socket, peer: Peer) -> None: ...

    async def calls(self) -> Counter[tuple[int, int, int]]: ...

    async def reads(self, address: str) -> set[bytes]: ...

    async def stop(self) -> None: ...


class NfsListener:
    """Listening sockets in front of a backend."""

    def __init__(
        self,
        make_backend: Callable[[Callable[[Peer], None]], Backend],
        alias_of: Callable[[str], bytes | None] = lambda _address: None,
        on_alias: Callable[[str], None] = lambda _address: None,
    ) -> None:
        """`alias_of` is the view that an address may mount without a token.

        `on_alias` is told of each connection of such an address.
        """
        self.backend = make_backend(self.left)
        self._alias_of = alias_of
        self._on_alias = on_alias
        self._sockets: list[socket.socket] = []
        self._by_address: Counter[str] = Counter()
        self._refused: set[str] = set()

    async def start(self, address: str, port: int, given: socket.socket | None = None) -> int:
        """Bind, or take a socket that somebody else has bound; returns the port."""
        listening = given if given is not None else _bind(address, port)
        if not self._sockets:
            await self.backend.start()
        listening.setblocking(False)
        self._sockets.append(listening)
        asyncio.get_running_loop().add_reader(listening, self._accept, listening)
        bound: int = listening.getsockname()[1]
        return bound

    async def stop(self) -> None:
        loop = asyncio.get_running_loop()
        for listening in self._sockets:
            loop.remove_reader(listening)
            listening.close()
        self._sockets.clear()
        await self.backend.stop()

    def peers(self) -> list[str]:
        """Addresses that hold a connection."""
        return list(self._by_address)

    def left(self, peer: Peer) -> None:
        """A connection of this peer has ended."""
        self._by_address[peer.address] -= 1
        if self._by_address[peer.address] <= 0:
            del self._by_address[peer.address]
            self._refused.discard(peer.address)

    def _accept(self, listening: socket.socket) -> None:
        for _ in range(ACCEPTS):
            try:
                connection, name = listening.accept()
            except (BlockingIOError, InterruptedError, ConnectionAbortedError):
                return
            except OSError as error:  # out of descriptors
                log.error("nfs.cannot_accept", reason=error.strerror)
                self._rest(listening)
                return
            # A socket that was given may be one for IPv6 as well, and names IPv4 in its way.
            self._admit(connection, str(name[0]).removeprefix("::ffff:"))

    def _rest(self, listening: socket.socket) -> None:
        """Look again in a second: what is refused now would be asked again at once."""
        loop = asyncio.get_running_loop()
        loop.remove_reader(listening)

        def look_again() -> None:
            if listening in self._sockets:
                loop.add_reader(listening, self._accept, listening)

        loop.call_later(1, look_again)

    def _admit(self, connection: socket.socket, address: str) -> None:
        full = self._by_address.total() >= MAX_CONNECTIONS
        if full or self._by_address[address] >= MAX_PEER_CONNECTIONS:
            connection.close()
            if address not in self._refused:
                self._refused.add(address)
                log.warning("nfs.too_many_connections", peer=address, of_all_peers=full)
            return
        peer = Peer(address, self._alias_of(address))
        self._by_address[address] += 1
        self.backend.adopt(connection, peer)
        if peer.alias is not None:
            self._on_alias(address)


def _bind(address: str, port: int) -> socket.socket:
    listening = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
    try:
        listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listening.bind((address, port))
        listening.listen(BACKLOG)
    except OSError as error:
        with suppress(OSError):
            listening.close()
        raise StorebootError(
            f"cannot listen for NFS on {address} port {port}: {error.strerror}",
            "stop what uses the port (an NFS server?), or set nfs.port",
        ) from None
    return listening
