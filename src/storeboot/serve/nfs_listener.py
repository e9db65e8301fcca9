"""The NFS port: sockets, file data and the thread that reads directories, around the core."""

from __future__ import annotations

import asyncio
import os
import socket
from collections import Counter
from contextlib import suppress

import structlog

from storeboot.errors import StorebootError
from storeboot.nfs.limits import MAX_REQUEST
from storeboot.nfs.program import Answer, Programs
from storeboot.nfs.rpc import RecordReader, RpcError
from storeboot.nfs.views import Index, NotLoadedError, View
from storeboot.nfs.xdr import FileSlice, Segment
from storeboot.serve.store_tree import OpenFiles, StoreTree

log = structlog.get_logger()

MAX_CONNECTIONS = 4096
IDLE_RECORD = 30.0  # seconds that a started record may take to arrive
MAX_LOADS = 2  # directories that are read at the same time
READ_CHUNK = 256 << 10
SLOW_PEER = 120.0  # seconds that a peer may take to make room for what it asked for
KEEPALIVE = 60  # seconds of silence before a peer is asked whether it is still there


class NfsListener:
    """One listening socket over one catalogue."""

    def __init__(self, programs: Programs, tree: StoreTree) -> None:
        self.programs = programs
        self.calls: Counter[tuple[int, int, int]] = Counter()
        self._tree = tree
        self._files = OpenFiles(tree)
        self._loads = asyncio.Semaphore(MAX_LOADS)
        self._connections: set[asyncio.Task[None]] = set()
        self._server: asyncio.Server | None = None

    async def start(self, address: str, port: int) -> int:
        """Bind; returns the port."""
        try:
            self._server = await asyncio.start_server(self._accept, address, port, backlog=1024)
        except OSError as error:
            raise StorebootError(
                f"cannot listen for NFS on {address} port {port}: {error.strerror}",
                "stop what uses the port (an NFS server?), or set nfs.port",
            ) from None
        bound: int = self._server.sockets[0].getsockname()[1]
        return bound

    async def stop(self) -> None:
        if self._server is not None:
            self._server.close()
        for task in list(self._connections):
            task.cancel()
        await asyncio.gather(*self._connections, return_exceptions=True)
        self._files.close()

    async def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        if len(self._connections) >= MAX_CONNECTIONS:
            writer.transport.abort()
            return
        self._connections.add(task)
        peer = writer.get_extra_info("peername")
        _keep_alive(writer.get_extra_info("socket"))
        try:
            await self._serve(reader, writer)
        except RpcError as error:
            log.info("nfs.peer_sent_rubbish", peer=peer, reason=str(error))
        except (ConnectionError, TimeoutError) as error:
            log.debug("nfs.connection_lost", peer=peer, reason=str(error))
        except asyncio.CancelledError:
            pass  # the server stops; nothing waits for this task
        except Exception:
            log.exception("nfs.bug", peer=peer)
        finally:
            self._connections.discard(task)
            writer.transport.abort()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        records = RecordReader(MAX_REQUEST)
        partial = False
        while True:
            # An idle client may be silent for days, one in the middle of a record may not.
            async with asyncio.timeout(IDLE_RECORD if partial else None):
                data = await reader.read(READ_CHUNK)
            if not data:
                return
            for record in records.feed(data):
                answer = await self._answer(record)
                self.calls[answer.program, answer.version, answer.procedure] += 1
                await self._send(writer, answer.segments)
            partial = records.partial

    async def _answer(self, record: bytes) -> Answer:
        """The core's answer; what it has not read yet is read, and it is asked again."""
        while True:
            try:
                return self.programs.answer(record)
            except NotLoadedError as missing:
                await self._load(missing)

    async def _load(self, missing: NotLoadedError) -> None:
        catalogue = self.programs.catalogue
        async with self._loads:
            match await asyncio.to_thread(self._tree.load, missing):
                case View() as view:
                    catalogue.add_view(view)
                case Index() as index if missing.store_name is not None:
                    catalogue.add_index(missing.store_name, index)
                case _:
                    log.warning(
                        "nfs.not_in_store", view=missing.view.hex(), path=missing.store_name
                    )
                    catalogue.set_absent(missing)

    async def _send(self, writer: asyncio.StreamWriter, segments: list[Segment]) -> None:
        for segment in segments:
            if isinstance(segment, bytes):
                writer.write(segment)
            else:
                await self._send_file(writer, segment)
        await _make_room(writer)

    async def _send_file(self, writer: asyncio.StreamWriter, data: FileSlice) -> None:
        """Straight from the page cache where it is there, else from a thread.

        A file that is shorter than its index says has been changed in place, which a store
        forbids: there is no honest answer any more, so the connection ends.
        """
        offset, left = data.offset, data.count
        while left:
            size = min(left, READ_CHUNK)
            # Asked for anew each time: while a thread reads, another connection's file may have
            # pushed this one out, and its number may be another file's by now.
            descriptor = self._files.descriptor(data.store_path, data.relative)
            piece = _read_cached(descriptor, size, offset)
            if piece is None:
                piece = await asyncio.to_thread(_read_disk, os.dup(descriptor), size, offset)
            if not piece:
                raise RpcError(f"{data.store_path!r}/{data.relative!r} was changed in place")
            writer.write(piece)
            await _make_room(writer)
            offset, left = offset + len(piece), left - len(piece)


async def _make_room(writer: asyncio.StreamWriter) -> None:
    async with asyncio.timeout(SLOW_PEER):
        await writer.drain()


def _keep_alive(connection: socket.socket) -> None:
    """A machine that lost its power says no goodbye."""
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
    connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPIDLE, KEEPALIVE)
    connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPINTVL, KEEPALIVE)
    connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPCNT, 5)


def _read_cached(descriptor: int, size: int, offset: int) -> bytes | None:
    """Bytes from the page cache, None when the disk would have to be waited for."""
    buffer = bytearray(size)
    with suppress(OSError):
        count = os.preadv(descriptor, [buffer], offset, os.RWF_NOWAIT)
        if count:
            return bytes(memoryview(buffer)[:count])
    return None


def _read_disk(descriptor: int, size: int, offset: int) -> bytes:
    """Reads through a descriptor of its own, which the cache of open files cannot close."""
    try:
        return os.pread(descriptor, size, offset)
    finally:
        os.close(descriptor)
