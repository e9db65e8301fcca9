"""What both model clients share: calls that are sent until they are answered."""

from __future__ import annotations

from collections.abc import Generator
from dataclasses import dataclass
from itertools import count

from nfs_codec import auth_sys, call, marked
from simulation.servers import Service
from simulation.world import Link, World
from storeboot.nfs.index import Kind, Node
from storeboot.nfs.rpc import RecordReader
from storeboot.nfs.xdr import Reader, Writer


@dataclass(frozen=True)
class Place:
    """Where a handle leads: a store path and a path in it; no store path is the view's root."""

    store_name: bytes = b""
    relative: bytes = b""

    def below(self, name: bytes) -> Place:
        if not self.store_name:
            return Place(name)
        return Place(self.store_name, self.relative + b"/" + name if self.relative else name)


WAIT = b""  # what a task yields that waits for another one
TIMEOUT = 60.0  # seconds without an answer until the connection is made anew
Task = Generator[bytes, Reader, None]


@dataclass(eq=False)
class _Running:
    task: Task


class Caller:
    """Tasks that yield calls without their record mark and get the results of each."""

    token = ""
    view = bytes(16)

    def __init__(self, world: World, service: Service, address: str) -> None:
        self.world = world
        self.service = service
        self.address = address
        self.captured: list[bytes] = []
        self._link: Link | None = None
        self._records = RecordReader(4 << 20)
        self._xids = count(world.dice.randrange(1 << 30))
        self._waiting: dict[int, tuple[_Running, bytes]] = {}
        self._backoff = 3.0
        self._reconnecting = False
        self.tasks: list[_Running] = []

    @property
    def done(self) -> bool:
        return not self.tasks

    def begin(self, tasks: int) -> None:
        """Mount, and do as many things at a time."""
        raise NotImplementedError

    def node(self, place: Place) -> Node:
        """What is true of a place."""
        model = self.service.model
        if not place.store_name:
            return Node(Kind.DIRECTORY, 0, names=tuple(sorted(model.views[self.view])))
        return model.paths[place.store_name][place.relative]

    def start(self, task: Task) -> None:
        running = _Running(task)
        self.tasks.append(running)
        self.world.after(self.world.dice.uniform(0, 5), lambda: self._step(running, None))

    def _step(self, running: _Running, results: Reader | None) -> None:
        try:
            call = running.task.send(results)  # type: ignore[arg-type]
        except StopIteration:
            self.tasks.remove(running)
            return
        if call == WAIT:
            self.world.after(0.1, lambda: self._step(running, None))
            return
        xid = next(self._xids)
        record = xid.to_bytes(4, "big") + call[4:]
        self._waiting[xid] = (running, record)
        self.captured.append(record)
        self._transmit(record)
        self._watch(xid, self._link)

    def _watch(self, xid: int, link: Link | None) -> None:
        def look() -> None:
            if xid not in self._waiting:
                return
            if self._link is link and link is not None:
                assert not link.is_whole, "stuck: a call on a whole connection has no answer"
                link.cut()
                self.lost(link)
            self._watch(xid, self._link)

        self.world.after(TIMEOUT, look)

    def _transmit(self, record: bytes) -> None:
        """On the connection that is there, or all that waits on the next one."""
        if self._link is not None:
            self._link.to_server(marked(record))
        else:
            self._reconnect_after(0)

    def _reconnect_after(self, delay: float) -> None:
        if not self._reconnecting:
            self._reconnecting = True
            self.world.after(delay, self._reconnect)

    def _reconnect(self) -> None:
        self._reconnecting = False
        if self._link is not None or not self._waiting:
            return
        link = Link(self.world, self, self.service)
        if not self.service.connect(link, self.address):
            self._backoff = min(self._backoff * 2, 60)
            self._reconnect_after(self._backoff)
            return
        self._link, self._backoff, self._records = link, 3.0, RecordReader(4 << 20)
        for _, record in list(self._waiting.values()):
            self._transmit(record)

    def receive(self, link: Link, data: bytes) -> None:
        if link is not self._link:
            return
        for record in self._records.feed(data):
            reader = Reader(record)
            waiting = self._waiting.pop(reader.uint32(), None)
            if waiting is None:
                continue  # the second answer to a call that was sent twice
            header = [reader.uint32() for _ in range(5)]
            assert header == [1, 0, 0, 0, 0], f"a good call was not accepted: {header}"
            self._step(waiting[0], reader)

    def lost(self, link: Link) -> None:
        if link is self._link:
            self._link = None
            self._reconnect_after(self._backoff)


def header(program: int, version: int, procedure: int) -> Writer:
    """A call with AUTH_SYS; the xid is put in when it is sent."""
    writer = Writer()
    writer.raw(call(program, version, procedure, xid=0, credential=auth_sys(b"machine")))
    return writer
