"""One NFS connection: records in, replies and file data out, on a socket that never blocks.

There is no asyncio transport in between: sendfile moves file data from the page cache to the
socket, and data that does not fit waits as a position in a file, not as bytes in memory.
"""

from __future__ import annotations

import errno
import socket
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any, Protocol

from storeboot.nfs.limits import MAX_REQUEST
from storeboot.nfs.rpc import RecordReader, RpcError
from storeboot.nfs.v4.clients import MAX_OPERATIONS, Peer
from storeboot.nfs.views import Lack, NotLoadedError
from storeboot.nfs.xdr import FileSlice, Segment
from storeboot.serve.nfs.file_data import UnreadableError
from storeboot.serve.tcp import TcpInfo, keep_alive

RECEIVE = 64 << 10  # bytes read from a socket at a time
QUEUE = 256 << 10  # bytes of waiting replies from which on no more calls are answered
INLINE = 32 << 10  # bytes of file data that are copied into the reply; more is sent by sendfile
TURN = 1 << 20  # bytes sent before other connections get their turn
MAX_LOADS = 64  # calls that wait for the store to be read
MAX_PIECES = 256  # of one write
STARTED_RECORD = 30.0  # seconds that a record may take to arrive
FIRST_RECORD = 60.0  # seconds until a peer sends its first call
SLOW_PEER = 120.0  # seconds without any byte taken by a peer for which replies wait
SLOW_DISK = 60.0  # seconds that the disk may take for one slice
MAX_TRIES = MAX_OPERATIONS + 2  # loads for one call: a compound can need one per operation


class Pending(Protocol):
    """The part of `asyncio.Future` that the connection needs."""

    def add_done_callback(self, callback: Callable[[Any], object], /) -> None: ...

    def result(self) -> Any: ...

    def cancelled(self) -> bool: ...

    def cancel(self) -> bool: ...


class Server(Protocol):
    """What a connection needs from the process around it."""

    def answer(self, record: bytes, peer: Peer) -> list[Segment]:
        """Return the reply; raise NotLoadedError if a part of the store has to be read first."""
        ...

    def load(self, missing: NotLoadedError) -> Pending:
        """Read a part of the store; the result is None, or the `Lack` of what cannot be read."""
        ...

    def answer_without(self, record: bytes, peer: Peer, lack: Lack) -> list[Segment]: ...

    def closed(self, connection: Connection, reason: Exception | None) -> None: ...


class Disk(Protocol):
    """The source of file data; see `FileData`."""

    def read(self, data: FileSlice, into: memoryview) -> bool: ...

    def send(self, connection: socket.socket, data: FileSlice) -> int | None: ...

    def fetch(self, data: FileSlice) -> Pending: ...


class Loop(Protocol):
    """What a connection needs from an event loop."""

    def time(self) -> float: ...

    def call_soon(self, callback: Callable[..., object], *arguments: Any) -> object: ...

    def add_reader(self, fd: Any, callback: Callable[..., object], *arguments: Any) -> object: ...

    def remove_reader(self, fd: Any) -> bool: ...

    def add_writer(self, fd: Any, callback: Callable[..., object], *arguments: Any) -> object: ...

    def remove_writer(self, fd: Any) -> bool: ...


class StuckError(Exception):
    """Work was left that nothing would have woken. This is a bug, and ends the connection."""


@dataclass(frozen=True, slots=True)
class _Retry:
    """A call that waited for a part of the store, which has been read since."""

    record: bytes
    tries: int
    lack: Lack | None  # what the store does not have


_file_data = bytearray(INLINE)  # one for all connections: it is sent before the next is served


class Connection:
    """Reads calls, asks the core, writes replies. Calls `Server.closed` at its end.

    Only five events wake a connection: its socket has bytes (reader), its socket has room (writer),
    a slice has been read from disk, a part of the store has been loaded, or it is its turn again.
    Each event ends in `_turn`, which does everything that can be done, and then ensures this
    invariant:

    - Replies are left: the writer, the disk or another turn is awaited.
    - Calls are left: the replies before them fill the queue, or MAX_LOADS loads are awaited.
    - Neither is left: the reader is awaited, or, after the peer's last call, a load.

    So work that is left always has something that wakes it. `_check` ends a connection that breaks
    the invariant.

    Memory is limited to RECEIVE bytes of calls, QUEUE bytes of replies plus one reply, and
    MAX_LOADS calls. The limit applies to all replies, including those to calls that waited for a
    load: such a call is answered from the start when its load is done.
    """

    def __init__(
        self, server: Server, connection: socket.socket, peer: Peer, loop: Loop, disk: Disk
    ) -> None:
        self.peer = peer
        self._server = server
        self._socket = connection
        self._loop = loop
        self._disk = disk
        self._records = RecordReader(MAX_REQUEST)
        self._calls: deque[bytes | _Retry] = deque()
        self._replies: deque[Segment | memoryview] = deque()
        self._queued = 0  # bytes of memory in `_replies`
        self._sent = 0  # bytes sent in this turn
        self._loads: set[Pending] = set()
        self._fetch: Pending | None = None  # the first slice of `_replies`, from disk
        self._reading = self._writing = self._again = False  # which events are awaited
        self._full = False  # the socket takes no more
        self._finished = False  # the peer has sent its last call
        self._closed = False
        self._heard = self._partial = False  # whether a call, and a part of one, has arrived
        self._record_since = self._write_since = self._fetch_since = loop.time()
        self._wait()

    def overdue(self, now: float) -> Exception | None:
        """Return why the connection should end, if something has kept it waiting for too long.

        A peer that is silent between calls is not at fault.
        """
        if self._writing and now > self._write_since + SLOW_PEER:
            return RpcError(f"it takes no replies, of which {self._queued} bytes wait")
        if self._fetch is not None and now > self._fetch_since + SLOW_DISK:
            first = self._replies[0]
            assert isinstance(first, FileSlice)
            return UnreadableError(first, OSError(errno.ETIMEDOUT, "the disk does not answer"))
        if self._reading and self._partial and now > self._record_since + STARTED_RECORD:
            return RpcError("it began a call and did not end it")
        if self._reading and not self._heard and now > self._record_since + FIRST_RECORD:
            return RpcError("it connected and said nothing")
        return None

    def silence(self) -> float:
        """Return for how many seconds the machine has acknowledged nothing; OSError if closed.

        It is the machine's kernel that acknowledges, so its programs may do what they like.
        """
        return TcpInfo.of(self._socket).silence

    def asks(self, seconds: int, times: int) -> None:
        """Let TCP ask a quiet machine every so many seconds whether it is there, and give up after
        so many questions without an answer: tcp(7), TCP_KEEPIDLE, TCP_KEEPINTVL and TCP_KEEPCNT.

        OSError if the connection is closed.
        """
        keep_alive(self._socket, seconds, times)

    def close(self, reason: Exception | None = None) -> None:
        if self._closed:
            return
        self._closed = True
        self._loop.remove_reader(self._socket)
        self._loop.remove_writer(self._socket)
        if self._fetch is not None:
            self._fetch.cancel()
        self._socket.close()
        self._server.closed(self, reason)

    def _guarded(self, action: Callable[..., None], *arguments: Any) -> None:
        """Run an event's action. If it fails, only this connection ends."""
        if self._closed:
            return
        try:
            action(*arguments)
        except Exception as error:
            self.close(error)

    # The five events.

    def _receive(self) -> None:
        try:
            data = self._socket.recv(RECEIVE)
        except (BlockingIOError, InterruptedError):
            return
        if not data:
            self._finished = True
            self._turn()
            return
        calls = self._records.feed(data)
        partial = self._records.partial
        if partial and (calls or not self._partial):
            self._record_since = self._loop.time()
        self._partial = partial
        if not calls:
            return
        self._heard = True
        if len(calls) == 1 and not self._replies and self._answer_at_once(calls[0]):
            return
        self._calls.extend(calls)
        self._turn()

    def _writable(self) -> None:
        self._full = False
        self._turn()

    def _fetched(self, fetch: Pending) -> None:
        if fetch.cancelled():
            raise StuckError("a read of the disk was cancelled")
        fetch.result()
        self._fetch = None
        self._turn()

    def _loaded(self, call: bytes | _Retry, load: Pending) -> None:
        self._loads.discard(load)
        if load.cancelled():
            self.close()
            return
        record, tries = (call.record, call.tries) if isinstance(call, _Retry) else (call, 0)
        self._calls.append(_Retry(record, tries + 1, load.result()))
        self._turn()

    def _next_turn(self) -> None:
        self._again = False
        self._turn()

    # What the events lead to.

    def _turn(self) -> None:
        """Answer and write until neither makes progress, then wait for what is missing."""
        self._sent = 0
        while self._calls or self._replies:
            answered = self._answer()
            if not self._write() and not answered:
                break
        self._wait()

    def _wait(self) -> None:
        """Await the events that the invariant requires, or end if nothing more can come."""
        if self._finished and not (self._calls or self._replies or self._loads):
            self.close()
            return
        reading = not self._finished and not self._calls and self._has_room
        if reading != self._reading:
            self._reading = reading
            if reading:
                self._record_since = self._loop.time()
                self._loop.add_reader(self._socket, self._guarded, self._receive)
            else:
                self._loop.remove_reader(self._socket)
        if self._full != self._writing:
            self._writing = self._full
            if self._writing:
                self._write_since = self._loop.time()
                self._loop.add_writer(self._socket, self._guarded, self._writable)
            else:
                self._loop.remove_writer(self._socket)
        waits = self._full or self._fetch is not None
        if self._replies and not waits and not self._again:  # after TURN bytes
            self._again = True
            self._loop.call_soon(self._guarded, self._next_turn)
        self._check()

    def _check(self) -> None:
        """Raise StuckError unless the invariant holds."""
        sends = self._writing or self._again or self._fetch is not None
        if self._replies and not sends:
            left = "replies"
        elif self._calls and self._has_room:
            left = "calls"
        elif not (self._replies or self._calls or self._reading or self._loads or self._again):
            left = "a connection"
        else:
            return
        raise StuckError(
            f"{left} with nothing to wake it: calls {len(self._calls)}, replies "
            f"{len(self._replies)}, bytes {self._queued}, loads {len(self._loads)}, reading "
            f"{self._reading}, writing {self._writing}, finished {self._finished}"
        )

    @property
    def _has_room(self) -> bool:
        return self._queued < QUEUE and len(self._loads) < MAX_LOADS

    def _answer_at_once(self, record: bytes) -> bool:
        """Answer one call while nothing waits: the usual case, in which the whole reply is sent at
        once.

        Return whether the call is settled. If not, nothing was done.
        """
        try:
            segments = self._server.answer(record, self.peer)
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
        self._turn()
        return True

    def _answer(self) -> bool:
        """Answer calls while there is room for their replies; return whether there was any."""
        calls, answer, peer = self._calls, self._server.answer, self.peer
        moves = False
        while calls and self._queued < QUEUE and len(self._loads) < MAX_LOADS:
            moves = True
            call = calls.popleft()
            try:
                segments = answer(call, peer) if type(call) is bytes else self._answer_again(call)
            except NotLoadedError as missing:
                load = self._server.load(missing)
                self._loads.add(load)
                load.add_done_callback(partial(self._guarded, self._loaded, call))
            else:
                self._queue(segments)
        return moves

    def _answer_again(self, call: bytes | _Retry) -> list[Segment]:
        """Return the reply to a call that waited for the store."""
        assert isinstance(call, _Retry)
        if call.lack is not None:
            return self._server.answer_without(call.record, self.peer, call.lack)
        if call.tries > MAX_TRIES:
            raise RpcError("a call needs more of the store than is kept in memory at once")
        return self._server.answer(call.record, self.peer)

    def _queue(self, segments: list[Segment]) -> None:
        for segment in segments:
            if type(segment) is bytes:
                if not segment:  # an empty one, such as no padding, would look like a full socket
                    continue
                self._queued += len(segment)
            self._replies.append(segment)

    def _write(self) -> bool:
        """Write until the socket is full, the disk is awaited, or the turn is over.

        Return whether any byte was sent.
        """
        moves = False
        while self._replies and not self._full and self._fetch is None and self._sent < TURN:
            try:
                sent = self._write_some()
            except (BlockingIOError, InterruptedError):
                self._full = True
                break
            if sent:
                moves = True
                self._sent += sent
                self._advance(sent)
        if moves and self._writing:
            self._write_since = self._loop.time()
        return moves

    def _write_some(self) -> int:
        """Make as much progress as one system call can.

        Return how many bytes the socket took; 0 means that the disk is awaited.
        """
        first = self._replies[0]
        if isinstance(first, FileSlice) and first.count > INLINE:
            sent = self._disk.send(self._socket, first)
            if sent is None:
                self._await_disk(first)
            return sent or 0
        pieces: list[bytes | memoryview] = []
        more = used = 0
        for segment in self._replies:
            if isinstance(segment, FileSlice):
                if used + segment.count > INLINE:
                    more = socket.MSG_MORE
                    break
                view = memoryview(_file_data)[used : used + segment.count]
                if not self._disk.read(segment, view):
                    if not pieces:
                        self._await_disk(segment)
                        return 0
                    break
                used += segment.count
                pieces.append(view)
            else:
                pieces.append(segment)
            if len(pieces) >= MAX_PIECES:
                break
        if len(pieces) == 1:
            return self._socket.send(pieces[0], more)
        return self._socket.sendmsg(pieces, (), more)

    def _await_disk(self, data: FileSlice) -> None:
        self._fetch = self._disk.fetch(data)
        self._fetch_since = self._loop.time()
        self._fetch.add_done_callback(partial(self._guarded, self._fetched))

    def _advance(self, sent: int) -> None:
        """Remove what was sent from the head of the queue."""
        replies = self._replies
        while sent:
            first = replies[0]
            if isinstance(first, FileSlice):
                size = first.count
            else:
                size = len(first)
                self._queued -= size if size <= sent else sent
            if size <= sent:
                replies.popleft()
                sent -= size
                continue
            if isinstance(first, FileSlice):
                replies[0] = first.behind(sent)
            else:
                replies[0] = memoryview(first)[sent:]
            return
