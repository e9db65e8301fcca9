"""The NFS service of one process: the core, what it reads from the disk, its connections."""

from __future__ import annotations

import asyncio
import errno
import os
import socket
from collections import Counter
from collections.abc import Callable

import structlog

from storeboot.nfs.index import Index
from storeboot.nfs.program import Programs
from storeboot.nfs.rpc import RpcError
from storeboot.nfs.status import Status
from storeboot.nfs.v4.clients import Peer
from storeboot.nfs.views import NotLoadedError, View
from storeboot.nfs.xdr import FileSlice, Segment
from storeboot.serve.file_data import FileData, UnreadableError
from storeboot.serve.nfs_connection import Connection
from storeboot.serve.reads import Reads
from storeboot.serve.store_tree import OpenFiles, StoreTree

log = structlog.get_logger()

MAX_LOADS = 2  # directories that are read at the same time
MAX_TOLD = 1024  # peers whose rubbish is remembered as told
UNREADABLE = 30.0  # seconds until a file that could not be read is tried again
KEEPALIVE = 60  # seconds of silence before a peer is asked whether it is still there
SWEEP = 1.0  # seconds between two looks for overdue connections


class NfsService:
    """Connections over one core; `on_closed` is told of each that ends."""

    def __init__(
        self,
        programs: Programs,
        tree: StoreTree,
        on_closed: Callable[[Peer], None] = lambda _peer: None,
    ) -> None:
        self.programs = programs
        self.tree = tree
        self.files = OpenFiles(tree)
        self.connections: set[Connection] = set()
        self._reads = Reads()
        self._on_closed = on_closed
        self._limit = asyncio.Semaphore(MAX_LOADS)
        self._loads: dict[tuple[bytes, bytes | None], asyncio.Task[bool]] = {}
        self._told: dict[str, None] = {}
        self._unreadable: dict[tuple[bytes, bytes], tuple[Status, float]] = {}
        self._sweeper: asyncio.TimerHandle | None = None

    def adopt(self, connection: socket.socket, peer: Peer) -> None:
        """Serve a connection from now on."""
        connection.setblocking(False)
        _set_options(connection)
        loop = asyncio.get_running_loop()
        disk = FileData(peer, self.descriptor)
        self.connections.add(Connection(self, connection, peer, loop, disk))
        if self._sweeper is None:
            self._sweeper = loop.call_later(SWEEP, self._sweep)

    async def start(self) -> None:
        """Nothing to prepare: directories are read when they are asked for."""

    async def calls(self) -> Counter[tuple[int, int, int]]:
        """How often each (program, version, procedure) was called."""
        return self.programs.calls

    async def stop(self) -> None:
        """Close every connection; another start may follow."""
        for connection in list(self.connections):
            connection.close()
        if self._sweeper is not None:
            self._sweeper.cancel()
            self._sweeper = None
        for task in self._loads.values():
            task.cancel()
        self.files.close()

    def answer(self, record: bytes, peer: Peer) -> list[Segment]:
        segments = self.programs.answer(record, peer)
        for data in segments if self._unreadable else ():
            if isinstance(data, FileSlice):
                status, until = self._unreadable.get(_file(data), (Status.OK, 0.0))
                if asyncio.get_running_loop().time() < until:
                    return self.programs.answer_unreadable(record, peer, data, status)
        return segments

    def load(self, missing: NotLoadedError) -> asyncio.Task[bool]:
        """Read what a call needs; the result is whether it is there now.

        What several calls wait for is read once.
        """
        key = (missing.view if missing.store_name is None else b"", missing.store_name)
        task = self._loads.get(key)
        if task is None:
            task = asyncio.get_running_loop().create_task(self._read(missing))
            self._loads[key] = task
            task.add_done_callback(lambda _task: self._loads.pop(key, None))
        return task

    def answer_without(self, record: bytes, peer: Peer, missing: NotLoadedError) -> list[Segment]:
        """Return the reply to a call that needs what the store does not have."""
        log.warning("nfs.not_in_store", view=missing.view.hex(), path=_text(missing))
        return self.programs.answer_without(record, peer, missing)

    async def _read(self, missing: NotLoadedError) -> bool:
        async with self._limit:
            try:
                found = await asyncio.to_thread(self.tree.load, missing)
            except OSError as error:
                missing.status = _status(error)
                log.error("nfs.unreadable", path=_text(missing), reason=error.strerror)
                return False
        match found:
            case View() as view:
                self.programs.catalogue.add_view(view)
            case Index() as index if missing.store_name is not None:
                self.programs.catalogue.add_index(missing.store_name, index)
            case _:
                return False
        return True

    async def reads(self, address: str) -> set[bytes]:
        """Files that an address has read since this was asked last."""
        return self.take_reads(address)

    def take_reads(self, address: str) -> set[bytes]:
        return self._reads.take(address)

    def descriptor(self, data: FileSlice, peer: Peer) -> int:
        self._reads.note(peer.address, data.store_path, data.relative)
        try:
            return self.files.descriptor(data.store_path, data.relative)
        except OSError as error:
            raise UnreadableError(data, error) from None

    def closed(self, connection: Connection, reason: Exception | None) -> None:
        peer = connection.peer
        self.connections.discard(connection)
        self.programs.leave(peer)
        self._on_closed(peer)
        match reason:
            case None:
                pass
            case UnreadableError():
                self._give_up(reason)
            case RpcError():
                self._tell(peer.address, str(reason))
            case OSError():
                log.debug("nfs.connection_lost", peer=peer.address, reason=str(reason))
            case _:
                log.error("nfs.bug", peer=peer.address, exc_info=reason)

    def _give_up(self, reason: UnreadableError) -> None:
        """The reply had begun, so the connection had to end; asked again, READ fails honestly."""
        file = _file(reason.data)
        if file not in self._unreadable:
            path = b"/".join(part for part in file if part)
            log.error("nfs.unreadable", path=os.fsdecode(path), reason=reason.error.strerror)
        until = asyncio.get_running_loop().time() + UNREADABLE
        self._unreadable[file] = (_status(reason.error), until)
        if len(self._unreadable) > MAX_TOLD:
            del self._unreadable[next(iter(self._unreadable))]

    def _tell(self, address: str, reason: str) -> None:
        """Once a peer: what it sends must not fill the log."""
        if address in self._told:
            log.debug("nfs.peer_sent_rubbish", peer=address, reason=reason)
            return
        log.info("nfs.peer_sent_rubbish", peer=address, reason=reason)
        self._told[address] = None
        if len(self._told) > MAX_TOLD:
            del self._told[next(iter(self._told))]

    def _sweep(self) -> None:
        loop = asyncio.get_running_loop()
        now = loop.time()
        for connection in list(self.connections):
            reason = connection.overdue(now)
            if reason is not None:
                connection.close(reason)
        self._sweeper = loop.call_later(SWEEP, self._sweep) if self.connections else None


def _file(data: FileSlice) -> tuple[bytes, bytes]:
    return data.store_path, data.relative


def _text(missing: NotLoadedError) -> str | None:
    return None if missing.store_name is None else missing.store_name.decode()


def _status(error: OSError) -> Status:
    """Want of memory or descriptors passes: DELAY, which NFSv3 calls JUKEBOX."""
    passing = error.errno in (errno.EMFILE, errno.ENFILE, errno.ENOMEM)
    return Status.DELAY if passing else Status.IO


def _set_options(connection: socket.socket) -> None:
    """Replies go at once; a machine that lost its power says no goodbye."""
    connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
    connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPIDLE, KEEPALIVE)
    connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPINTVL, KEEPALIVE)
    connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPCNT, 5)
