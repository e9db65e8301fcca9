"""One NFS connection: records in, replies and file data out, on a socket that never blocks.

No asyncio transport stands in between: file data goes from the page cache to the socket by
sendfile, and what does not fit waits as a place in a file, not as bytes in memory.
"""

from __future__ import annotations

import asyncio
import errno
import os
import socket
from collections import deque
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import Protocol

from storeboot.nfs.limits import MAX_REQUEST
from storeboot.nfs.rpc import RecordReader
from storeboot.nfs.v4.clients import Peer
from storeboot.nfs.views import NotLoadedError
from storeboot.nfs.xdr import FileSlice, Segment

RECEIVE = 64 << 10  # bytes taken from a socket at a time
QUEUE = 256 << 10  # bytes of replies that may wait before more calls are answered
INLINE = 32 << 10  # bytes of file data that are copied into the reply; more goes by sendfile
PROBE = 256 << 10  # bytes between two looks into the page cache
MAX_WAITING = 64  # calls that wait for a directory to be read
MAX_PIECES = 256  # of one write
STARTED_RECORD = 30.0  # seconds that a started record may take to arrive
FIRST_RECORD = 60.0  # seconds until a peer says its first word
SLOW_PEER = 120.0  # seconds that a peer may take to make room for what it asked for


class Server(Protocol):
    """What a connection needs of the process around it."""

    def answer(self, record: bytes, peer: Peer) -> list[Segment]: ...

    async def answer_later(
        self, record: bytes, peer: Peer, missing: NotLoadedError
    ) -> list[Segment]: ...

    def descriptor(self, data: FileSlice, peer: Peer) -> int: ...

    def closed(self, connection: Connection, reason: Exception | None) -> None: ...


_readers = ThreadPoolExecutor(8, "nfs-disk")
_file_data = bytearray(INLINE)  # one for all connections: it is sent before the next is served


class Connection:
    """Reads, asks the core, writes; ends with `Server.closed`."""

    def __init__(
        self, server: Server, connection: socket.socket, peer: Peer, loop: asyncio.AbstractEventLoop
    ) -> None:
        self.peer = peer
        self._server = server
        self._socket = connection
        self._loop = loop
        self._records = RecordReader(MAX_REQUEST)
        self._calls: deque[bytes] = deque()
        self._replies: deque[Segment | memoryview] = deque()
        self._queued = 0  # bytes of memory in `_replies`
        self._waiting: set[asyncio.Task[None]] = set()
        self._reading = self._writing = self._finished = False
        self._on_disk: asyncio.Future[int] | None = None
        self._since = loop.time()  # the last progress of what must not take for ever
        self._heard = self._partial = False
        self._listen()

    def overdue(self, now: float) -> str | None:
        """What the peer has let us wait for too long; silence between calls is no fault."""
        if self._writing:
            late, what = SLOW_PEER, f"it takes no replies, of which {self._queued} bytes wait"
        elif self._partial and self._reading:
            late, what = STARTED_RECORD, "it began a call and did not end it"
        elif not self._heard:
            late, what = FIRST_RECORD, "it connected and said nothing"
        else:
            return None
        return what if now > self._since + late else None

    def close(self, reason: Exception | None = None) -> None:
        if self._socket.fileno() < 0:
            return
        self._loop.remove_reader(self._socket)
        self._loop.remove_writer(self._socket)
        for task in self._waiting:
            task.cancel()
        if self._on_disk is not None:
            self._on_disk.cancel()
        self._socket.close()
        self._server.closed(self, reason)

    def _listen(self) -> None:
        """Take more calls only while there is room for their replies."""
        wanted = (
            not self._finished
            and not self._calls
            and self._queued < QUEUE
            and len(self._waiting) < MAX_WAITING
        )
        if wanted and not self._reading:
            self._since = self._loop.time()
            self._loop.add_reader(self._socket, self._guarded, self._receive)
        elif self._reading and not wanted:
            self._loop.remove_reader(self._socket)
        self._reading = wanted

    def _guarded(self, action: Callable[[], None]) -> None:
        """Whatever goes wrong ends this connection and no other."""
        try:
            action()
        except Exception as error:
            self.close(error)

    def _receive(self) -> None:
        try:
            data = self._socket.recv(RECEIVE)
        except (BlockingIOError, InterruptedError):
            return
        if not data:
            self._finish()
            return
        partial = self._partial
        calls = self._records.feed(data)
        self._partial = self._records.partial
        if self._partial and (calls or not partial):
            self._since = self._loop.time()
        if not calls:
            return
        self._heard = True
        if self._replies or self._on_disk is not None or not self._answer_at_once(calls):
            self._calls.extend(calls)
            self._work()

    def _answer_at_once(self, calls: list[bytes]) -> bool:
        """The common case without a queue: one call, whose reply is short and goes out whole."""
        if len(calls) > 1:
            return False
        try:
            segments = self._server.answer(calls[0], self.peer)
        except NotLoadedError:
            return False
        if len(segments) == 1:
            reply = segments[0]
            assert isinstance(reply, bytes)
            try:
                sent = self._socket.send(reply)
            except (BlockingIOError, InterruptedError):
                sent = 0
            if sent == len(reply):
                return True
            segments = [reply[sent:]]
        self._queue(segments)
        self._write()
        self._listen()
        return True

    def _finish(self) -> None:
        """The peer has said all; what it asked for is still answered."""
        self._finished = True
        self._listen()
        self._end_if_done()

    def _end_if_done(self) -> None:
        if self._finished and not (self._calls or self._replies or self._waiting):
            self.close()

    def _work(self) -> None:
        """Answer while there is room, and write."""
        server, peer = self._server, self.peer
        while self._calls and self._queued < QUEUE and len(self._waiting) < MAX_WAITING:
            record = self._calls.popleft()
            try:
                self._queue(server.answer(record, peer))
            except NotLoadedError as missing:
                self._waiting.add(self._loop.create_task(self._answer_later(record, missing)))
        self._write()
        if self._calls or self._reading is False or self._queued >= QUEUE:
            self._listen()

    def _queue(self, segments: list[Segment]) -> None:
        """Empty segments, such as no padding, would look like a socket that takes nothing."""
        for segment in segments:
            if type(segment) is bytes:
                if not segment:
                    continue
                self._queued += len(segment)
            self._replies.append(segment)

    async def _answer_later(self, record: bytes, missing: NotLoadedError) -> None:
        """The call needs what has to be read from the disk first."""
        try:
            segments = await self._server.answer_later(record, self.peer, missing)
        except Exception as error:
            self.close(error)
            return
        self._queue(segments)
        task = asyncio.current_task()
        assert task is not None
        self._waiting.discard(task)
        self._guarded(self._resume)

    def _resume(self) -> None:
        if self._socket.fileno() < 0:
            return
        self._write()
        self._work()
        self._listen()
        self._end_if_done()

    def _write(self) -> None:
        """As much as the socket takes."""
        if self._on_disk is not None:
            return
        while self._replies:
            try:
                sent = self._write_some()
            except (BlockingIOError, InterruptedError):
                sent = 0
            if self._on_disk is not None:
                return
            if not sent:
                self._wait_for_room()
                return
            self._since = self._loop.time() if self._writing else self._since
        if self._writing:
            self._loop.remove_writer(self._socket)
            self._writing = False

    def _wait_for_room(self) -> None:
        if not self._writing:
            self._writing = True
            self._since = self._loop.time()
            self._loop.add_writer(self._socket, self._guarded, self._resume)

    def _write_some(self) -> int:
        """One system call's worth; returns the bytes that went, 0 when a disk is waited for."""
        first = self._replies[0]
        if isinstance(first, FileSlice) and first.count > INLINE:
            return self._send_file(first)
        pieces: list[bytes | memoryview] = []
        more = used = 0
        for segment in self._replies:
            if isinstance(segment, FileSlice):
                if used + segment.count > INLINE:
                    more = socket.MSG_MORE
                    break
                data = self._read(segment, used)
                if data is None:
                    if not pieces:
                        return 0
                    break
                used += segment.count
                pieces.append(data)
            else:
                pieces.append(segment)
            if len(pieces) >= MAX_PIECES:
                break
        if len(pieces) == 1:
            sent = self._socket.send(pieces[0], more)
        else:
            sent = self._socket.sendmsg(pieces, (), more)
        self._advance(sent)
        return sent

    def _advance(self, sent: int) -> None:
        """Drop what has gone out from the front of the queue."""
        replies = self._replies
        while sent:
            first = replies[0]
            size = first.count if isinstance(first, FileSlice) else len(first)
            if not isinstance(first, FileSlice):
                self._queued -= min(size, sent)
            if sent >= size:
                replies.popleft()
            elif isinstance(first, FileSlice):
                replies[0] = first.behind(sent)
            else:
                replies[0] = memoryview(first)[sent:]
            sent -= min(size, sent)

    def _read(self, data: FileSlice, at: int) -> memoryview | None:
        """A small slice from the page cache; None when the disk has to be waited for."""
        descriptor = self._server.descriptor(data, self.peer)
        view = memoryview(_file_data)[at : at + data.count]
        try:
            size = os.preadv(descriptor, [view], data.offset, os.RWF_NOWAIT)
        except BlockingIOError:
            size = -1
        except OSError:  # a file system without RWF_NOWAIT
            try:
                size = os.preadv(descriptor, [view], data.offset)
            except OSError as error:
                raise UnreadableError(data, error) from None
        if size == data.count:
            return view
        self._wait_for_disk(descriptor, data)
        return None

    def _send_file(self, data: FileSlice) -> int:
        descriptor = self._server.descriptor(data, self.peer)
        if not _is_cached(descriptor, data):
            self._wait_for_disk(descriptor, data)
            return 0
        try:
            sent = os.sendfile(self._socket.fileno(), descriptor, data.offset, data.count)
        except OSError as error:
            if error.errno == errno.EIO:  # others are the socket's
                raise UnreadableError(data, error) from None
            raise
        if not sent:
            raise _changed(data)
        self._advance(sent)
        return sent

    def _wait_for_disk(self, descriptor: int, data: FileSlice) -> None:
        """A thread reads the slice, so that it is in the page cache when it is asked for again."""
        if self._writing:
            self._writing = False
            self._loop.remove_writer(self._socket)
        own = os.dup(descriptor)  # the cache of open files may close the other one meanwhile
        job = _readers.submit(_read_through, own, data)
        job.add_done_callback(lambda _job: os.close(own))  # however it ends, or never begins
        self._on_disk = asyncio.wrap_future(job)
        self._on_disk.add_done_callback(partial(self._cached, data))

    def _cached(self, data: FileSlice, reading: asyncio.Future[int]) -> None:
        if reading.cancelled() or self._socket.fileno() < 0:
            return
        self._on_disk = None
        error = reading.exception()
        if isinstance(error, OSError):
            self.close(UnreadableError(data, error))
        elif reading.result() < data.count:
            self.close(_changed(data))
        else:
            self._guarded(self._resume)


class UnreadableError(Exception):
    """A file's bytes are not to be had; what was promised of them cannot be kept."""

    def __init__(self, data: FileSlice, error: OSError) -> None:
        super().__init__(error.strerror)
        self.data = data
        self.error = error


def _changed(data: FileSlice) -> UnreadableError:
    """It is shorter than when it was indexed."""
    return UnreadableError(data, OSError(errno.EIO, "it was changed in place"))


def _is_cached(descriptor: int, data: FileSlice) -> bool:
    """Whether the page cache has a slice, by samples: it is read and dropped in larger pieces.

    A wrong guess costs everybody one wait for the disk, no more.
    """
    end = data.offset + data.count
    probe = bytearray(1)
    try:
        for offset in (*range(data.offset, end, PROBE), end - 1):
            if not os.preadv(descriptor, [probe], offset, os.RWF_NOWAIT):
                return False
    except BlockingIOError:
        return False
    except OSError:
        return True
    return True


def _read_through(descriptor: int, data: FileSlice) -> int:
    """Read a slice for the page cache's sake, and return how much of it there is."""
    done = 0
    while done < data.count:
        size = len(os.pread(descriptor, min(1 << 18, data.count - done), data.offset + done))
        if not size:
            break
        done += size
    return done
