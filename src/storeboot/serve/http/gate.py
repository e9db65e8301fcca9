"""Limits HTTP connections: how many there are, how long they may be silent, and which are closed.

Anyone can open connections. Each address may have a limited number, and so may all of them
together, so that NFS always finds file descriptors. When there is no room, a new connection
replaces one of the address that has most: an idle one, or one that has never sent a request, before
one that is being served. A machine that boots has two or three, so none of its connections is
replaced.
"""

from __future__ import annotations

import asyncio
import resource
import socket
import struct
from collections import Counter
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field

import structlog
from aiohttp import web
from typing_extensions import override

from storeboot.errors import StorebootError

log = structlog.get_logger()

MAX_CONNECTIONS = 1024
MAX_PEER_CONNECTIONS = 128
RESERVED = 32  # file descriptors of the server itself
SHARE = 4  # HTTP gets one in so many of the others: a connection, and the file it is sent
SILENT_SECONDS = 20.0  # until a first whole request, and between two requests
STALLED_SECONDS = 60.0  # in which the peer takes no byte
LINGER_SECONDS = 2.0  # for the rest of a body that is not wanted
ACCEPTS = 64
BACKLOG = 1024
REST_SECONDS = 1.0
_TCP_USER_TIMEOUT = 18  # tcp(7)


def most_connections() -> int:
    """Return how many connections, with the files sent over them, use a quarter of the
    descriptors."""
    limit, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    if limit == resource.RLIM_INFINITY:
        return MAX_CONNECTIONS
    return max(4, min(MAX_CONNECTIONS, (limit - RESERVED) // (2 * SHARE)))


class _Protocol(web.RequestHandler):
    """aiohttp's protocol, which also reports when it has ended."""

    __slots__ = ("_on_lost",)

    def __init__(self, server: web.Server, on_lost: Callable[[_Protocol], None]) -> None:
        super().__init__(
            server,
            loop=asyncio.get_running_loop(),
            access_log=None,  # type: ignore[arg-type] # as AppRunner hands it on
            keepalive_timeout=SILENT_SECONDS,
            lingering_time=LINGER_SECONDS,
            auto_decompress=False,  # a few bytes could be expanded to any number
        )
        self._on_lost = on_lost

    @override
    def connection_lost(self, exc: BaseException | None) -> None:
        super().connection_lost(exc)
        self._on_lost(self)


@dataclass(slots=True, eq=False)
class _Connection:
    address: str
    protocol: _Protocol
    socket: socket.socket
    since: float

    @property
    def is_idle(self) -> bool:
        """Return whether no request is being served: there is none, or it has not fully arrived."""
        return not self.protocol._request_in_progress

    def end(self) -> None:
        """End the connection now: readers and writers see its end, and unsent data is dropped."""
        with suppress(OSError):
            self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            self.socket.shutdown(socket.SHUT_RDWR)


class GatedRunner(web.AppRunner):
    """An application whose connections come through a gate."""

    def __init__(self, app: web.Application, gate: Gate, *, shutdown_timeout: float) -> None:
        super().__init__(app, handle_signals=False, shutdown_timeout=shutdown_timeout)
        self.gate = gate

    def listen(self, listening: socket.socket) -> None:
        """Accept connections on a socket from now on. The application must be set up already."""
        server = self.server
        assert server is not None
        self.gate.listen(listening, server)

    @override
    async def cleanup(self) -> None:
        self.gate.close()
        await super().cleanup()


@dataclass(slots=True)
class Gate:
    """Listening sockets, and the connections that they accepted."""

    most: int
    most_of_peer: int = MAX_PEER_CONNECTIONS
    refused: int = 0  # new connections for which there was no room
    evicted: int = 0  # connections that were closed to make room
    _sockets: list[socket.socket] = field(default_factory=list)
    _connections: dict[_Protocol, _Connection] = field(default_factory=dict)
    _counts: Counter[str] = field(default_factory=Counter)
    _coming: set[asyncio.Task[None]] = field(default_factory=set)
    _told: bool = False

    def __len__(self) -> int:
        return len(self._connections)

    def listen(self, listening: socket.socket, server: web.Server) -> None:
        listening.setblocking(False)
        self._sockets.append(listening)
        asyncio.get_running_loop().add_reader(listening, self._accept, listening, server)

    def close(self) -> None:
        """Stop accepting connections. Those that exist stay."""
        loop = asyncio.get_running_loop()
        for listening in self._sockets:
            loop.remove_reader(listening)
            listening.close()
        self._sockets.clear()
        for task in self._coming:
            task.cancel()

    def _accept(self, listening: socket.socket, server: web.Server) -> None:
        for _ in range(ACCEPTS):
            try:
                accepted, name = listening.accept()
            except (BlockingIOError, InterruptedError, ConnectionAbortedError):
                return
            except OSError as error:  # out of file descriptors
                log.error("http.cannot_accept", reason=error.strerror)
                self._evict("", 0)
                self._rest(listening, server)
                return
            self._admit(accepted, str(name[0]).removeprefix("::ffff:"), server)

    def _rest(self, listening: socket.socket, server: web.Server) -> None:
        """Stop accepting for a second: what fails now would fail again at once."""
        loop = asyncio.get_running_loop()
        loop.remove_reader(listening)

        def look_again() -> None:
            if listening in self._sockets:
                loop.add_reader(listening, self._accept, listening, server)

        loop.call_later(REST_SECONDS, look_again)

    def _admit(self, accepted: socket.socket, address: str, server: web.Server) -> None:
        own = self._counts[address]
        if own >= self.most_of_peer:
            fits = self._evict_idle(address)
        else:
            fits = len(self._connections) + len(self._coming) < self.most or self._evict(
                address, own
            )
        if not fits:
            accepted.close()
            self.refused += 1
            if not self._told:
                self._told = True
                log.warning("http.too_many_connections", peer=address, of_peer=own,
                            of_all=len(self._connections))  # fmt: skip
            return
        self._counts[address] += 1
        task = asyncio.create_task(self._connect(accepted, address, server))
        self._coming.add(task)
        task.add_done_callback(self._coming.discard)

    async def _connect(self, accepted: socket.socket, address: str, server: web.Server) -> None:
        loop = asyncio.get_running_loop()
        try:
            accepted.setblocking(False)
            # The limit for a peer that takes no data: its window is closed, or it does not respond
            # at all.
            accepted.setsockopt(socket.IPPROTO_TCP, _TCP_USER_TIMEOUT, int(STALLED_SECONDS * 1000))
            _, protocol = await loop.connect_accepted_socket(
                lambda: _Protocol(server, self._left), accepted
            )
        except (OSError, asyncio.CancelledError):
            accepted.close()
            self._forget(address)
            return
        self._connections[protocol] = _Connection(address, protocol, accepted, loop.time())
        if protocol.transport is None:  # it has ended in the meantime
            self._left(protocol)

    def _left(self, protocol: _Protocol) -> None:
        """Forget a connection that has ended."""
        connection = self._connections.pop(protocol, None)
        if connection is not None:
            self._forget(connection.address)

    def _forget(self, address: str) -> None:
        self._counts[address] -= 1
        if self._counts[address] <= 0:
            del self._counts[address]
        if not self._connections:
            self._told = False

    def _evict(self, address: str, own: int) -> bool:
        """Make room for an address that has `own` connections; return whether there is room now."""
        greediest = max(self._counts, key=lambda each: self._counts[each], default=None)
        if greediest is None or self._counts[greediest] <= own:
            return self._evict_idle(address)
        return self._evict_idle(greediest) or self._close(self._of(greediest))

    def _evict_idle(self, address: str) -> bool:
        return self._close([each for each in self._of(address) if each.is_idle])

    def _of(self, address: str) -> list[_Connection]:
        return [each for each in self._connections.values() if each.address == address]

    def _close(self, some: Sequence[_Connection]) -> bool:
        """Close the oldest of some connections; return whether there was one."""
        victim = min(some, key=lambda each: each.since, default=None)
        if victim is None:
            return False
        self.evicted += 1
        self._left(victim.protocol)
        victim.end()
        return True


def bound(address: str, port: int) -> socket.socket:
    """Return a listening socket."""
    listening = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
    try:
        listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listening.bind((address, port))
        listening.listen(BACKLOG)
    except OSError as error:
        with suppress(OSError):
            listening.close()
        raise StorebootError(
            f"cannot listen for HTTP on {address} port {port}: {error.strerror}",
            "stop the program that uses the port, or set http.port; set http.listen if this "
            "machine does not have the address, or not yet",
        ) from None
    return listening
