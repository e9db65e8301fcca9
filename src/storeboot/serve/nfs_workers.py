"""Worker processes for the NFS port: connections are accepted here and handed over.

None is needed for correctness: handles and ids are derived, so any process answers anybody. All
connections of one address go to one worker while it has any, so that a worker sees the whole of a
client's session and can hold it to its order.
"""

from __future__ import annotations

import asyncio
import json
import os
import socket
import sys
from collections import Counter, deque
from collections.abc import Callable
from contextlib import suppress
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import structlog

from storeboot.errors import StorebootError
from storeboot.nfs.v4.clients import Peer
from storeboot.process import Child

log = structlog.get_logger()

MESSAGE = 64 << 10  # bytes, at most, of one message between the processes
PAUSE = 1.0  # seconds before a worker that died is started again
Answer = dict[str, Any]  # empty if the worker is gone
Calls = Counter[tuple[int, int, int]]


@dataclass(frozen=True, slots=True)
class WorkerSettings:
    """What a worker is told before its first connection, over a socket only it has."""

    key: str  # hexadecimal
    service: str
    lease: int  # seconds
    reply_memory: int  # bytes
    store: str
    state_directory: str
    verbose: bool = False


@dataclass(slots=True, eq=False)
class _Worker:
    """A running worker, which addresses it serves how often, and what it was not told yet."""

    child: Child
    channel: socket.socket
    addresses: Counter[str] = field(default_factory=Counter)
    unsaid: deque[tuple[bytes, socket.socket | None]] = field(default_factory=deque)
    waiting: list[asyncio.Future[Answer]] = field(default_factory=list)


class NfsWorkers:
    """A pool of worker processes; a worker that dies is replaced."""

    def __init__(
        self, settings: WorkerSettings, count: int, on_closed: Callable[[Peer], None]
    ) -> None:
        self._settings = settings
        self._count = count
        self._on_closed = on_closed
        self._workers: list[_Worker] = []
        self._starting: set[asyncio.Task[None]] = set()
        self.changed = asyncio.Event()  # set when a worker comes or goes

    async def start(self) -> None:
        for _ in range(self._count):
            await self._start_one()

    @property
    def pids(self) -> list[int]:
        return [worker.child.pid for worker in self._workers]

    def adopt(self, connection: socket.socket, peer: Peer) -> None:
        """Hand a connection to the worker of its address, else to the one with fewest."""
        worker = self._choose(peer.address)
        if worker is None:  # the client tries again, and by then there is one
            connection.close()
            log.warning("nfs.connection_dropped", peer=peer.address, reason="no worker is there")
            self._on_closed(peer)
            return
        worker.addresses[peer.address] += 1
        words = {"address": peer.address, "alias": peer.alias.hex() if peer.alias else None}
        worker.unsaid.append((json.dumps(words).encode(), connection))
        self._say(worker)

    def _say(self, worker: _Worker) -> None:
        """In order; what the channel has no room for waits until it has."""
        loop = asyncio.get_running_loop()
        loop.remove_writer(worker.channel)
        while worker.unsaid:
            message, connection = worker.unsaid[0]
            try:
                if connection is None:
                    worker.channel.send(message)
                else:
                    socket.send_fds(worker.channel, [message], [connection.fileno()])
            except BlockingIOError:
                loop.add_writer(worker.channel, self._say, worker)
                return
            except OSError:
                return  # it is gone, which `_hear` hears
            worker.unsaid.popleft()
            if connection is not None:
                connection.close()

    def _choose(self, address: str) -> _Worker | None:
        for worker in self._workers:
            if worker.addresses[address]:
                return worker
        return min(self._workers, key=lambda each: each.addresses.total(), default=None)

    async def calls(self) -> Calls:
        """What all workers have been asked since they started."""
        counts: Calls = Counter()
        for answer in await self._ask({"calls": True}):
            counts += Counter({(p, v, n): count for p, v, n, count in answer.get("calls", ())})
        return counts

    async def reads(self, address: str) -> set[bytes]:
        """Files that an address has read since this was asked last; they come in a file."""
        found: set[bytes] = set()
        for answer in await self._ask({"reads": address}):
            if "reads" in answer:
                file = Path(str(answer["reads"]))
                found.update(await asyncio.to_thread(_take_file, file))
        return found

    async def _ask(self, question: Answer) -> list[Answer]:
        """Every worker's answer; each answers in the order in which it was asked."""
        loop = asyncio.get_running_loop()
        answers: list[asyncio.Future[Answer]] = []
        for worker in self._workers:
            answer: asyncio.Future[Answer] = loop.create_future()
            worker.waiting.append(answer)
            answers.append(answer)
            worker.unsaid.append((json.dumps(question).encode(), None))
            self._say(worker)
        return await asyncio.gather(*answers)

    async def stop(self) -> None:
        for task in self._starting:
            task.cancel()
        workers, self._workers = self._workers, []
        for worker in workers:
            self._hang_up(worker)  # at which it ends
        for worker in workers:
            await worker.child.stop()

    async def _start_one(self) -> None:
        ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        with theirs:
            argv = [sys.executable, "-m", "storeboot.serve.nfs_worker", str(theirs.fileno())]
            try:
                child = await Child.start(argv, pass_fds=(theirs.fileno(),))
            except BaseException:
                ours.close()
                raise
        ours.setblocking(False)
        worker = _Worker(child, ours)
        worker.unsaid.append((json.dumps(asdict(self._settings)).encode(), None))
        self._say(worker)
        self._workers.append(worker)
        self.changed.set()
        asyncio.get_running_loop().add_reader(ours, self._hear, worker)

    def _hear(self, worker: _Worker) -> None:
        """Connections that ended, counts that were asked for; nothing when the worker is gone."""
        try:
            message = worker.channel.recv(MESSAGE)
        except BlockingIOError:
            return
        except OSError:
            message = b""
        if not message:
            self._replace(worker)
            return
        words = json.loads(message)
        if "left" in words:
            address = str(words["left"])
            worker.addresses[address] -= 1
            if not worker.addresses[address]:
                del worker.addresses[address]
            self._on_closed(Peer(address))
        elif worker.waiting:
            worker.waiting.pop(0).set_result(words)

    def _replace(self, worker: _Worker) -> None:
        log.error("nfs.worker_died", pid=worker.child.pid, status=worker.child.status)
        self._workers.remove(worker)
        self.changed.set()
        self._hang_up(worker)
        task = asyncio.create_task(self._start_again(worker))
        self._starting.add(task)
        task.add_done_callback(self._starting.discard)

    async def _start_again(self, worker: _Worker) -> None:
        """Again and again, should there be no memory for another process just now."""
        await worker.child.stop()
        while True:
            await asyncio.sleep(PAUSE)
            try:
                return await self._start_one()
            except (OSError, StorebootError) as error:
                log.error("nfs.worker_not_started", reason=str(error))

    def _hang_up(self, worker: _Worker) -> None:
        """All that the worker had is gone: connections, also unsaid ones, and answers."""
        with suppress(ValueError, OSError):
            asyncio.get_running_loop().remove_reader(worker.channel)
            asyncio.get_running_loop().remove_writer(worker.channel)
        worker.channel.close()
        for _, connection in worker.unsaid:
            if connection is not None:
                connection.close()
        for address in worker.addresses.elements():
            self._on_closed(Peer(address))
        for answer in worker.waiting:
            if not answer.done():
                answer.set_result({})


def _take_file(file: Path) -> list[bytes]:
    data = file.read_bytes()
    file.unlink()
    return data.split(b"\0") if data else []


def usable_cores() -> int:
    """How many processors this process may use."""
    return len(os.sched_getaffinity(0))
