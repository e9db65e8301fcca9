"""Worker processes for the NFS port: this process accepts connections and hands them over.

Workers are not needed for correctness: filehandles and ids are derived, so any process can answer
any client. All connections of one address go to one worker as long as the address has any, so that
this worker sees all of a client's session and can hold it to its order.

Each worker is asked for a sign of life every second. One that gives none is killed and replaced.
Nothing waits for it in the meantime: it gets no more connections, and every question has a time
limit.
"""

from __future__ import annotations

import asyncio
import itertools
import os
import signal
import socket
import sys
from collections import Counter, deque
from collections.abc import Callable, Coroutine
from dataclasses import asdict, dataclass, field

import structlog

from storeboot.errors import StorebootError
from storeboot.nfs.refusal import Refusal
from storeboot.nfs.v4.clients import Peer
from storeboot.process import Child
from storeboot.serve.nfs import descriptors
from storeboot.serve.nfs.channel import Channel, Words, WorkerSettings

log = structlog.get_logger()

BEAT = 1.0  # seconds between two questions for a sign of life
SILENT = 2  # beats without an answer after which a worker gets no more work
DEAD = 4  # beats without an answer after which it is replaced
STARTING = 6  # the same before its first answer; doubled after each start that failed
PATIENCE = 2.0  # seconds that a question waits for its answers
PAUSE = 1.0  # seconds before another try, if a worker could not be started or ended at once
YOUNG = 5.0  # seconds of life below which a worker has ended "at once"
ENDING = 3.0  # seconds that a worker has to end by itself when the server stops
MAX_UNSAID = 64  # messages that wait for one worker; further connections wait here
Answer = Words
Calls = Counter[tuple[int, int, int]]


@dataclass(slots=True, eq=False)
class Worker:
    """A running worker, its connections, and the questions it was asked."""

    child: Child
    channel: Channel
    started: float  # by the event loop's clock
    peers: dict[int, Peer] = field(default_factory=dict)
    addresses: Counter[str] = field(default_factory=Counter)  # of the peers
    asked: dict[int, asyncio.Future[Answer]] = field(default_factory=dict)
    beat: int | None = None  # the question for a sign of life that is unanswered
    missed: int = 0  # beats since then
    answered: bool = False  # whether it has ever answered

    @property
    def takes_more(self) -> bool:
        """Return whether the worker has answered recently, and has no messages waiting."""
        return self.missed < SILENT and self.channel.waiting < MAX_UNSAID


class NfsWorkers:
    """A pool of worker processes. One that dies or hangs is replaced."""

    def __init__(
        self, settings: WorkerSettings, count: int, on_closed: Callable[[Peer], None]
    ) -> None:
        self._settings = settings
        self._count = count
        self._on_closed = on_closed
        self._workers: list[Worker] = []
        self._waiting: deque[tuple[socket.socket, Peer]] = deque()  # for a worker
        self._numbers = itertools.count(1)  # of connections and questions
        self._failed_starts = 0  # in a row
        self._tasks: set[asyncio.Task[None]] = set()
        self._watch: asyncio.Task[None] | None = None
        self.changed = asyncio.Event()  # set when a worker is added or removed

    @property
    def pids(self) -> list[int]:
        return [worker.child.pid for worker in self._workers]

    @property
    def room(self) -> int:
        """Return how many connections all workers together can hold."""
        return self._count * self._room_of_one

    @property
    def _room_of_one(self) -> int:
        return descriptors.connections(descriptors.limit())

    async def start(self) -> None:
        """Start all workers. One that cannot be started is tried again later."""
        self._watch = asyncio.create_task(self._keep_watch())
        for _ in range(self._count):
            await self._try_to_start()

    async def stop(self) -> None:
        """End all workers and their connections."""
        if self._watch is not None:
            self._watch.cancel()
        for task in self._tasks:
            task.cancel()
        workers, self._workers = self._workers, []
        for worker in workers:
            self._hang_up(worker)  # this ends it
        for connection, peer in self._waiting:
            connection.close()
            self._on_closed(peer)
        self._waiting.clear()
        await asyncio.gather(*(worker.child.stop(ENDING) for worker in workers))

    def adopt(self, connection: socket.socket, peer: Peer) -> None:
        """Hand a connection to the worker of its address, or else to the one with fewest
        connections."""
        self._waiting.append((connection, peer))
        self._assign()

    def drop(self, peer: Peer) -> None:
        """Close a connection that has to make room."""
        for each in self._waiting:
            connection, known = each
            if known is peer:
                self._waiting.remove(each)
                connection.close()
                self._on_closed(peer)
                return
        for worker in self._workers:
            for number, known in worker.peers.items():
                if known is peer:
                    worker.channel.say({"drop": number})
                    return

    def _assign(self) -> None:
        """Hand over waiting connections, as far as there are workers that take them."""
        while self._waiting:
            worker = self._choose(self._waiting[0][1].address)
            if worker is None:
                return
            connection, peer = self._waiting.popleft()
            number = next(self._numbers)
            worker.peers[number] = peer
            worker.addresses[peer.address] += 1
            words = {"connection": number, "address": peer.address, **_alias_words(peer.alias)}
            worker.channel.say(words, connection.detach())

    def _choose(self, address: str) -> Worker | None:
        able = [
            worker
            for worker in self._workers
            if worker.takes_more and len(worker.peers) < self._room_of_one
        ]
        for worker in able:
            if worker.addresses[address]:
                return worker
        return min(able, key=lambda each: (not each.answered, len(each.peers)), default=None)

    async def calls(self) -> Calls:
        """Return how often each procedure was called, without workers that do not answer."""
        counts: Calls = Counter()
        for answer in await self._ask({"what": "calls"}):
            counts += Counter({(p, v, n): count for p, v, n, count in answer.get("calls", ())})
        return counts

    async def reads(self, address: str) -> set[bytes]:
        """Return the files that an address has read since the last call, as far as workers
        answer."""
        found: set[bytes] = set()
        for answer in await self._ask({"what": "reads", "address": address}):
            found |= answer.get("reads", set())
        return found

    async def silence(self, address: str) -> float | None:
        """Return for how many seconds nothing came from an address that has mounted, or None if it
        holds no connection."""
        answers = await self._ask({"what": "silence", "address": address})
        found = [answer["silence"] for answer in answers if answer.get("silence") is not None]
        if not found and len(answers) < len(self._workers):
            raise TimeoutError("a worker does not answer")
        return min(found, default=None)

    async def _ask(self, question: Words) -> list[Answer]:
        """Ask all workers; return the answers that come in time."""
        loop = asyncio.get_running_loop()
        asked: list[tuple[Worker, int, asyncio.Future[Answer]]] = []
        for worker in self._workers:
            if worker.takes_more:
                number = next(self._numbers)
                answer: asyncio.Future[Answer] = loop.create_future()
                worker.asked[number] = answer
                asked.append((worker, number, answer))
                worker.channel.say({"ask": number, **question})
        try:
            if asked:
                await asyncio.wait([answer for *_, answer in asked], timeout=PATIENCE)
        finally:
            for worker, number, _ in asked:
                worker.asked.pop(number, None)
        return [answer.result() for *_, answer in asked if answer.done()]

    async def _keep_watch(self) -> None:
        """Check on the workers every beat.

        Beats are counted instead of seconds, so that no worker is late after this process was
        stopped.
        """
        while True:
            await asyncio.sleep(BEAT)
            for worker in list(self._workers):
                self._look_at(worker)
            self._assign()

    def _look_at(self, worker: Worker) -> None:
        if worker.beat is None:
            worker.beat = next(self._numbers)
            worker.channel.say({"ask": worker.beat, "what": "alive"})
            return
        worker.missed += 1
        patience = DEAD if worker.answered else STARTING << min(self._failed_starts, 4)
        if worker.missed >= patience:
            if not worker.answered:
                self._failed_starts += 1
            log.error("nfs.worker_hangs", pid=worker.child.pid, started=worker.answered)
            self._replace(worker)

    def _hear(self, worker: Worker, words: Words, descriptor: int | None) -> None:
        """Handle a message of a worker: what has become of a connection, or an answer."""
        if "left" in words:
            self._leave(worker, words["left"])
        elif "refused" in words:
            peer = worker.peers.get(words["refused"])
            if peer is not None:
                peer.refuse(Refusal[words["why"]])
        elif "proven" in words:
            peer = worker.peers.get(words["proven"])
            if peer is not None:
                peer.prove()
        else:
            if descriptor is not None:
                words["reads"] = _take(descriptor)
            self._take_answer(worker, words)

    def _take_answer(self, worker: Worker, words: Words) -> None:
        number = words["answer"]
        if number == worker.beat:
            worker.beat, worker.missed = None, 0
            if not worker.answered:
                worker.answered, self._failed_starts = True, 0
            self._assign()
        answer = worker.asked.pop(number, None)
        if answer is not None and not answer.done():
            answer.set_result(words)

    def _leave(self, worker: Worker, number: int) -> None:
        peer = worker.peers.pop(number, None)
        if peer is None:
            return
        worker.addresses[peer.address] -= 1
        if not worker.addresses[peer.address]:
            del worker.addresses[peer.address]
        self._on_closed(peer)
        if self._waiting:
            self._assign()

    def _ended(self, worker: Worker) -> None:
        log.error("nfs.worker_died", pid=worker.child.pid, status=worker.child.status)
        self._replace(worker)

    def _replace(self, worker: Worker) -> None:
        """Replace a worker at once, even if it cannot be killed because its disk does not
        answer."""
        self._workers.remove(worker)
        worker.child.send(signal.SIGKILL)
        self._hang_up(worker)
        self.changed.set()
        self._spawn(_reap(worker.child))
        young = asyncio.get_running_loop().time() < worker.started + YOUNG
        self._spawn(self._start_again(PAUSE if young else 0.0))

    def _hang_up(self, worker: Worker) -> None:
        """Give up everything that the worker had: its connections and the questions it was
        asked."""
        worker.channel.close()
        for peer in worker.peers.values():
            self._on_closed(peer)
        worker.peers.clear()
        for answer in worker.asked.values():
            if not answer.done():
                answer.set_result({})

    async def _try_to_start(self) -> None:
        try:
            await self._start_one()
        except (OSError, StorebootError) as error:
            log.error("nfs.worker_not_started", reason=str(error))
            self._spawn(self._start_again(PAUSE))

    async def _start_again(self, pause: float) -> None:
        await asyncio.sleep(pause)
        await self._try_to_start()

    async def _start_one(self) -> None:
        ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        with theirs:
            argv = [sys.executable, "-m", "storeboot.serve.nfs.worker_main",
                    str(theirs.fileno()), str(os.getpid())]  # fmt: skip
            try:
                child = await Child.start(argv, pass_fds=(theirs.fileno(),))
            except BaseException:
                ours.close()
                raise
        channel = Channel(
            ours,
            lambda words, descriptor: self._hear(worker, words, descriptor),
            lambda: self._ended(worker),
            self._assign,
        )
        worker = Worker(child, channel, asyncio.get_running_loop().time())
        channel.say(asdict(self._settings))
        self._workers.append(worker)
        self._look_at(worker)
        self.changed.set()
        self._assign()

    def _spawn(self, work: Coroutine[object, object, None]) -> None:
        task = asyncio.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)


def _alias_words(alias: bytes | Refusal) -> Words:
    if isinstance(alias, Refusal):
        return {"alias": None, "no_alias": alias.name}
    return {"alias": alias.hex()}


async def _reap(child: Child) -> None:
    await child.wait()


def _take(descriptor: int) -> set[bytes]:
    """Return the names in a file that a worker has sent."""
    with os.fdopen(descriptor, "rb") as stream:
        stream.seek(0)
        data = stream.read()
    return set(data.split(b"\0")) if data else set()


def usable_cores() -> int:
    """Return how many processors this process may use."""
    return len(os.sched_getaffinity(0))
