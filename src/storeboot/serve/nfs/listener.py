"""The NFS ports: accepts connections, and passes each to the process that serves it."""

from __future__ import annotations

import asyncio
import errno
import socket
from collections import Counter
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from typing import Protocol

import structlog

from storeboot.errors import StorebootError
from storeboot.nfs.refusal import Refusal
from storeboot.nfs.v4.clients import Peer
from storeboot.serve.nfs.admission import Admission
from storeboot.serve.nfs.descriptors import Spare
from storeboot.serve.nfs.rarely import Rarely

log = structlog.get_logger()

ACCEPTS = 64  # connections accepted at a time, before others are served
BACKLOG = 1024
REST = 0.2  # seconds until accepting is tried again, if there was no file descriptor at all
SAY = 60.0  # seconds between two log lines about that
LOOKUPS = 8  # aliases that are looked up at the same time
PATIENCE = 3.0  # seconds that a connection waits for its alias to be looked up


class Backend(Protocol):
    """Serves accepted connections: in this process, or in the pool of workers."""

    @property
    def room(self) -> int: ...

    async def start(self) -> None: ...

    def drop(self, peer: Peer) -> None: ...

    def adopt(self, connection: socket.socket, peer: Peer) -> None: ...

    async def calls(self) -> Counter[tuple[int, int, int]]: ...

    async def reads(self, address: str) -> set[bytes]: ...

    async def silence(self, address: str) -> float | None: ...

    async def stop(self) -> None: ...


class NfsListener:
    """Listening sockets in front of a backend."""

    def __init__(
        self,
        make_backend: Callable[[Callable[[Peer], None]], Backend],
        alias_of: Callable[[str], bytes | Refusal] = lambda _address: Refusal.NO_ALIAS,
        on_alias: Callable[[str], None] = lambda _address: None,
        on_mount: Callable[[str], None] = lambda _address: None,
        on_refusal: Callable[[str, Refusal], None] = lambda _address, _refusal: None,
    ) -> None:
        """`alias_of` returns the view that an address may mount without a token, or why it may
        mount none.

        `on_alias` is called for each connection from such an address, and `on_mount` once the
        connection has shown that its view is mounted. `on_refusal` is called for refused mounts,
        but once a minute at most for one address and reason.
        """
        self.backend = make_backend(self.left)
        self.admission = Admission(self.backend.room)
        self._alias_of = alias_of
        self._on_alias = on_alias
        self._on_mount = on_mount
        self._on_refusal = on_refusal
        self._rarely = Rarely()
        self._sockets: list[socket.socket] = []
        self._naming: dict[Peer, asyncio.Task[None]] = {}  # peers whose alias is looked up
        self._threads = ThreadPoolExecutor(LOOKUPS, "nfs-alias")
        self._spare = Spare()
        self._resting: dict[socket.socket, asyncio.TimerHandle] = {}
        self._said = float("-inf")  # when the log last said that nothing can be accepted
        self._refused: set[str] = set()

    async def start(self, address: str, port: int, given: socket.socket | None = None) -> int:
        """Bind a port, or use a socket that is bound already; return the port."""
        listening = given if given is not None else _bind(address, port)
        if not self._sockets:
            self._spare.take_back()
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
        for task in self._naming.values():
            task.cancel()
        self._threads.shutdown(wait=False, cancel_futures=True)
        self._threads = ThreadPoolExecutor(LOOKUPS, "nfs-alias")  # another start may follow
        self._spare.close()
        await self.backend.stop()

    def peers(self) -> list[str]:
        """Return the addresses that hold a connection."""
        return self.admission.addresses()

    async def reads(self, address: str) -> set[bytes]:
        """Return the files that an address has read since the last call."""
        return await self.backend.reads(address)

    async def silence(self, address: str) -> float | None:
        """Return for how many seconds nothing came from an address that has mounted, or None if it
        holds no connection."""
        return await self.backend.silence(address)

    def left(self, peer: Peer) -> None:
        """Note that the peer's connection has ended."""
        self.admission.leave(peer)
        self._spare.take_back()
        if not self.admission.has(peer.address):
            self._refused.discard(peer.address)

    def _accept(self, listening: socket.socket) -> None:
        for _ in range(ACCEPTS):
            try:
                connection, name = self._accept_one(listening)
            except (BlockingIOError, InterruptedError, ConnectionAbortedError):
                return
            except OSError as error:  # out of file descriptors
                self._rest(listening)
                self._say_cannot_accept(str(error.strerror))
                return
            # A socket from systemd may be an IPv6 one, which writes IPv4 addresses in its own way.
            self._admit(connection, str(name[0]).removeprefix("::ffff:"))

    def _accept_one(self, listening: socket.socket) -> tuple[socket.socket, tuple[object, ...]]:
        """Accept a connection, with the spare file descriptor if the process has no other left."""
        try:
            return listening.accept()
        except OSError as error:
            if error.errno != errno.EMFILE or not self._spare.give():
                raise
        return listening.accept()

    def _rest(self, listening: socket.socket) -> None:
        """Stop accepting for a moment: without a file descriptor it would fail again at once."""
        loop = asyncio.get_running_loop()
        loop.remove_reader(listening)
        self._resting[listening] = loop.call_later(REST, self._look_again, listening)

    def _say_cannot_accept(self, reason: str) -> None:
        """Log, once in a while, that nothing can be accepted: it may go on for long."""
        now = asyncio.get_running_loop().time()
        if now > self._said + SAY:
            self._said = now
            log.error("nfs.cannot_accept", reason=reason)

    def _look_again(self, listening: socket.socket) -> None:
        self._resting.pop(listening).cancel()
        self._spare.take_back()
        if listening in self._sockets:
            asyncio.get_running_loop().add_reader(listening, self._accept, listening)

    def _admit(self, connection: socket.socket, address: str) -> None:
        peer = Peer(address, on_proof=self._proved, on_refusal=self._refuse)
        self._make_room(self.admission.enter(peer))
        task = asyncio.get_running_loop().create_task(self._adopt(connection, peer))
        self._naming[peer] = task
        task.add_done_callback(lambda _task: self._named(connection, peer))

    def _proved(self, peer: Peer) -> None:
        self._make_room(self.admission.prove(peer))
        if peer.alias is not None:
            self._on_mount(peer.address)

    def _refuse(self, peer: Peer, refusal: Refusal) -> None:
        """Tell of a refused mount. A peer whose alias is not known has to connect again."""
        if self._rarely.now((peer.address, refusal)):
            log.warning("nfs.mount_refused", peer=peer.address, reason=refusal.reason)
            self._on_refusal(peer.address, refusal)
        if peer.alias is Refusal.PASSING:
            asyncio.get_running_loop().call_soon(self.backend.drop, peer)

    def _make_room(self, victim: Peer | None) -> None:
        """Close a connection in favour of another one, unless there is none to close."""
        if victim is None:
            return
        if victim.address not in self._refused:
            self._refused.add(victim.address)
            log.warning("nfs.too_many_connections", peer=victim.address, proven=victim.proven)
        task = self._naming.get(victim)
        if task is not None:
            task.cancel()
        else:
            self.backend.drop(victim)

    async def _adopt(self, connection: socket.socket, peer: Peer) -> None:
        """Find out what the peer may mount without a token, then have it served."""
        loop = asyncio.get_running_loop()
        peer.alias = Refusal.PASSING
        try:
            async with asyncio.timeout(PATIENCE):
                peer.alias = await loop.run_in_executor(self._threads, self._alias_of, peer.address)
        except TimeoutError:
            log.error("nfs.alias_unknown", address=peer.address, reason="it takes too long")
        except Exception:  # machines are served, whatever is wrong with the database
            log.exception("nfs.alias_unknown", address=peer.address)
        del self._naming[peer]
        self.backend.adopt(connection, peer)
        self._spare.take_back()  # a connection that a worker has is closed here
        for listening in list(self._resting):
            self._look_again(listening)
        if not isinstance(peer.alias, Refusal):
            self._on_alias(peer.address)

    def _named(self, connection: socket.socket, peer: Peer) -> None:
        """Close a connection if `_adopt` was cancelled before it had handed it over."""
        if self._naming.pop(peer, None) is not None:
            connection.close()
            self.left(peer)


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
            "stop the program that uses the port (an NFS server?), or set nfs.port",
        ) from None
    return listening
