"""The NFS service of one process: the core, what it reads from the disk, and its connections."""

from __future__ import annotations

import asyncio
import errno
import os
import socket
from collections import Counter
from collections.abc import Callable
from contextlib import suppress

import structlog
from typing_extensions import override

from storeboot.errors import StorebootError
from storeboot.files import PASSING
from storeboot.nfs.index import Index
from storeboot.nfs.limits import MAX_REPLY
from storeboot.nfs.program import Programs
from storeboot.nfs.rpc import RpcError
from storeboot.nfs.status import Status
from storeboot.nfs.v4.clients import Peer
from storeboot.nfs.views import Lack, NotLoadedError, View
from storeboot.nfs.xdr import FileSlice, Segment
from storeboot.serve.nfs import descriptors
from storeboot.serve.nfs.connection import Connection
from storeboot.serve.nfs.file_data import FileData, UnreadableError
from storeboot.serve.nfs.open_files import OpenFiles
from storeboot.serve.nfs.reads import Reads
from storeboot.serve.nfs.store_reader import StoreReader
from storeboot.serve.nfs.store_tree import StoreTree
from storeboot.serve.tcp import keep_alive

log = structlog.get_logger()

MAX_TOLD = 1024  # peers and paths that the log has mentioned and need not mention again
UNREADABLE = 30.0  # seconds until a place that could not be read is tried again
VIEW_TRIES = 4  # further tries to read a view
VIEW_PAUSE = 1.0  # seconds before each of them
STRANGER = 60.0  # seconds in which a peer must show that it belongs to a boot
KEEPALIVE, GIVE_UP = 60, 5  # seconds of silence after which TCP probes a peer, and how often
SOON, LATER = 3, 100  # the same while somebody wants to know whether it is there
WANTED = 30.0  # seconds for which that goes on
SWEEP = 1.0  # seconds between two checks for overdue connections
# Bytes that the kernel accepts for one connection before it can send them. If this were less than
# the largest reply, each such reply would cost several wakeups.
UNSENT = MAX_REPLY
_NO_DESCRIPTOR = frozenset({errno.EMFILE, errno.ENFILE})


class NotOpenError(NotLoadedError):
    """A reply needs the data of a file that is not open yet."""

    def __init__(self, data: FileSlice) -> None:
        super().__init__(b"")
        self.data = data

    @override
    def lack(self, status: Status = Status.DELAY) -> Lack:
        return _lack(self.data, status)


class NfsService:
    """Connections that share one core; `on_closed` is called for each that ends."""

    def __init__(
        self,
        programs: Programs,
        tree: StoreTree,
        on_closed: Callable[[Peer], None] = lambda _peer: None,
    ) -> None:
        self.programs = programs
        self.tree = tree
        self.files = OpenFiles(tree, descriptors.open_files(descriptors.limit()))
        self.connections: set[Connection] = set()
        self._by_peer: dict[Peer, tuple[Connection, float]] = {}
        self._reads = Reads()
        self._on_closed = on_closed
        self._store = StoreReader(tree, self.files)
        self._told: dict[tuple[str, ...], None] = {}
        self._unreadable: dict[tuple[bytes, bytes], tuple[Status, float]] = {}
        self._broken: set[bytes] = set()  # store paths with parts that could not be read
        self._asked: dict[Connection, float] = {}  # those whose peers are probed soon, since when
        self._sweeper: asyncio.TimerHandle | None = None

    @property
    def room(self) -> int:
        """Return how many connections this process can hold, besides its other work."""
        return descriptors.connections(descriptors.limit()) // 2

    def adopt(self, connection: socket.socket, peer: Peer) -> None:
        """Serve a connection from now on."""
        connection.setblocking(False)
        try:
            _set_options(connection)
        except OSError:  # it is closed already
            connection.close()
            self._on_closed(peer)
            return
        loop = asyncio.get_running_loop()
        made = Connection(self, connection, peer, loop, FileData(peer, self.descriptor))
        self.connections.add(made)
        self._by_peer[peer] = made, loop.time()
        if self._sweeper is None:
            self._sweeper = loop.call_later(SWEEP, self._sweep)

    def drop(self, peer: Peer) -> None:
        """Close a connection that has to make room."""
        known = self._by_peer.get(peer)
        if known is not None:
            known[0].close()

    async def start(self) -> None:
        """Do nothing: directories are read when they are asked for."""

    async def calls(self) -> Counter[tuple[int, int, int]]:
        """Return how often each (program, version, procedure) was called."""
        return self.programs.calls

    async def stop(self) -> None:
        """Close every connection. The service may be started again."""
        for connection in list(self.connections):
            connection.close()
        if self._sweeper is not None:
            self._sweeper.cancel()
            self._sweeper = None
        self._store.stop()
        self.files.close()

    def answer(self, record: bytes, peer: Peer) -> list[Segment]:
        segments = self.programs.answer(record, peer)
        if len(segments) > 1:
            return self._checked(record, peer, segments)
        return segments

    def _checked(self, record: bytes, peer: Peer, segments: list[Segment]) -> list[Segment]:
        """Check that all file data of a reply can be read; raise NotOpenError if a file must be
        opened.

        If the data cannot be read, return a reply that says so.
        """
        for data in segments:
            if type(data) is not FileSlice:
                continue
            if self._unreadable:
                status, until = self._unreadable.get(_file(data), (Status.OK, 0.0))
                if asyncio.get_running_loop().time() < until:
                    return self.programs.answer(record, peer, _lack(data, status))
            if not self.files.has(data):
                self.programs.uncount(record)
                raise NotOpenError(data)
        return segments

    def load(self, missing: NotLoadedError) -> asyncio.Task[Lack | None]:
        """Read what a call needs, once for all calls that wait for it.

        The result is None if it could be read; otherwise it is the lack with which to answer the
        call.
        """
        work = self._open(missing) if isinstance(missing, NotOpenError) else self._load(missing)
        return asyncio.get_running_loop().create_task(work)

    def answer_without(self, record: bytes, peer: Peer, lack: Lack) -> list[Segment]:
        """Return the reply to a call that needs something that cannot be read."""
        return self.programs.answer(record, peer, lack)

    async def _open(self, missing: NotOpenError) -> Lack | None:
        """Open a file; return None, or the lack with which to answer the call."""
        data = missing.data
        for _ in range(2):
            try:
                await self._store.open(data)
            except TimeoutError:
                self._say_unreadable(_path(*_file(data)), "the disk does not answer")
                return missing.lack(Status.DELAY)
            except OSError as error:
                if error.errno in _NO_DESCRIPTOR and self.files.shrink():
                    continue
                if error.errno not in PASSING:
                    self._remember(data, error)
                return missing.lack(_status(error))
            self._unreadable.pop(_file(data), None)
            return None
        return missing.lack(Status.DELAY)

    async def _load(self, missing: NotLoadedError) -> Lack | None:
        """Read a view or a store path into the catalogue; return None, or the lack to answer
        with.

        A view that cannot be read is tried again before anybody is told: it is read for a mount,
        which a client gives up at the first error.
        """
        lack = await self._try_load(missing)
        for _ in range(VIEW_TRIES if missing.store_name is None else 0):
            if lack is None or lack.status is Status.STALE:
                break
            await asyncio.sleep(VIEW_PAUSE)
            lack = await self._try_load(missing)
        return lack

    async def _try_load(self, missing: NotLoadedError) -> Lack | None:
        path = _text(missing)
        try:
            found = await self._store.load(missing)
        except TimeoutError:
            self._say_unreadable(path, "the disk does not answer")
            return missing.lack(Status.DELAY)
        except OSError as error:
            if error.errno in _NO_DESCRIPTOR:
                self.files.shrink()
            self._say_unreadable(path, str(error.strerror))
            return missing.lack(_status(error))
        except (StorebootError, ValueError, KeyError, TypeError) as error:  # a damaged view
            self._say_unreadable(path, str(error))
            return missing.lack(Status.IO)
        match found:
            case View() as view:
                self.programs.catalogue.add_view(view)
            case Index() as index if missing.store_name is not None:
                self.programs.catalogue.add_index(missing.store_name, index)
                self._look_at_broken(missing.store_name, index)
            case _:
                if self._first(("gone", path)):
                    log.warning("nfs.not_in_store", view=missing.view.hex(), path=path)
                return missing.lack()
        return None

    def _look_at_broken(self, store_name: bytes, index: Index) -> None:
        """Log the places that could not be read once, and try them again after a while."""
        for relative in index.broken:
            self._say_unreadable(_path(store_name, relative), "its siblings are served")
        if index.broken and store_name not in self._broken:
            self._broken.add(store_name)
            asyncio.get_running_loop().call_later(UNREADABLE, self._look_again, store_name)

    def _look_again(self, store_name: bytes) -> None:
        self._broken.discard(store_name)
        self.programs.catalogue.forget_index(store_name)

    async def reads(self, address: str) -> set[bytes]:
        """Return the files that an address has read since the last call."""
        return self.take_reads(address)

    def take_reads(self, address: str) -> set[bytes]:
        return self._reads.take(address)

    async def silence(self, address: str) -> float | None:
        """Return for how many seconds nothing came from an address that has mounted, or None if it
        holds no connection."""
        return self.take_silence(address)

    def take_silence(self, address: str) -> float | None:
        """Return the same. For a while from now, TCP asks such a machine every few seconds whether
        it is there, so the answer to the next call tells whether its network works."""
        found: list[float] = []
        for peer, (connection, _since) in self._by_peer.items():
            if peer.address == address and peer.proven:
                with suppress(OSError):
                    if connection not in self._asked:  # each of these calls makes TCP ask at once
                        connection.asks(SOON, LATER)
                    self._asked[connection] = asyncio.get_running_loop().time()
                    found.append(connection.silence())
        return min(found, default=None)

    def descriptor(self, data: FileSlice, peer: Peer) -> int:
        self._reads.note(peer.address, data.store_path, data.relative)
        try:
            return self.files.descriptor(data)
        except OSError as error:
            raise UnreadableError(data, error) from None

    def closed(self, connection: Connection, reason: Exception | None) -> None:
        peer = connection.peer
        self.connections.discard(connection)
        self._asked.pop(connection, None)
        self._by_peer.pop(peer, None)
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
        """Note a file whose data could not be read after its reply had begun.

        The connection had to end. When the client asks again, READ fails with an error.
        """
        self._remember(reason.data, reason.error)

    def _remember(self, data: FileSlice, error: OSError) -> None:
        """Log a file that cannot be read, and do not try it again at once."""
        file = _file(data)
        self._say_unreadable(_path(*file), str(error.strerror))
        until = asyncio.get_running_loop().time() + UNREADABLE
        self._unreadable[file] = (_status(error), until)
        if len(self._unreadable) > MAX_TOLD:
            del self._unreadable[next(iter(self._unreadable))]

    def _say_unreadable(self, path: str, reason: str) -> None:
        """Log once per path that it cannot be read: machines ask again and again."""
        if self._first(("unreadable", path)):
            log.error("nfs.unreadable", path=path, reason=reason)

    def _tell(self, address: str, reason: str) -> None:
        """Log once per peer what is wrong with its data, so that it cannot fill the log."""
        said = log.info if self._first(("rubbish", address)) else log.debug
        said("nfs.peer_sent_rubbish", peer=address, reason=reason)

    def _first(self, what: tuple[str, ...]) -> bool:
        """Return whether something is to be logged for the first time, as far as that is
        remembered."""
        if what in self._told:
            return False
        self._told[what] = None
        if len(self._told) > MAX_TOLD:
            del self._told[next(iter(self._told))]
        return True

    def _sweep(self) -> None:
        loop = asyncio.get_running_loop()
        now = loop.time()
        for connection in list(self.connections):
            reason = connection.overdue(now)
            if reason is not None:
                connection.close(reason)
        for peer, (connection, since) in list(self._by_peer.items()):
            if not peer.proven and now > since + STRANGER:
                connection.close(RpcError("it has shown neither a mount token nor a filehandle"))
        for connection in [each for each, since in self._asked.items() if now > since + WANTED]:
            del self._asked[connection]
            with suppress(OSError):
                connection.asks(KEEPALIVE, GIVE_UP)
        self._sweeper = loop.call_later(SWEEP, self._sweep) if self.connections else None


def _file(data: FileSlice) -> tuple[bytes, bytes]:
    return data.store_path, data.relative


def _lack(data: FileSlice, status: Status) -> Lack:
    return Lack(status, store_name=data.store_path, relative=data.relative)


def _path(store_name: bytes, relative: bytes) -> str:
    return os.fsdecode(store_name + b"/" + relative if relative else store_name)


def _text(missing: NotLoadedError) -> str:
    if missing.store_name is None:
        return f"view {missing.view.hex()}"
    return os.fsdecode(missing.store_name)


def _status(error: OSError) -> Status:
    """Return the status for an error: DELAY (NFSv3: JUKEBOX) if memory or descriptors are short.

    Such a shortage passes; any other error is IO.
    """
    return Status.DELAY if error.errno in PASSING else Status.IO


def _set_options(connection: socket.socket) -> None:
    """Send replies at once, limit what the kernel buffers, and detect a machine that lost power.

    A peer that does not read its replies must not fill the kernel's memory: without a limit each
    connection's buffer grows to the maximum of tcp_wmem (tcp(7), TCP_NOTSENT_LOWAT).
    """
    connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NOTSENT_LOWAT, UNSENT)
    connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    keep_alive(connection, KEEPALIVE, GIVE_UP)
