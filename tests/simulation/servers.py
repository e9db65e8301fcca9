"""The server side: worker processes around the real core, that die, are replaced, or move."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from simulation.model import Model
from simulation.sockets import SimDisk, SimLoop, SimPending, SimSocket
from simulation.world import Link, World
from storeboot.nfs.memo import Memo
from storeboot.nfs.program import Programs
from storeboot.nfs.rpc import RpcError
from storeboot.nfs.v4.clients import Peer
from storeboot.nfs.views import Lack, NotLoadedError
from storeboot.nfs.xdr import Segment
from storeboot.serve.nfs.connection import Connection

KEY = b"k" * 32


SWEEP = 10.0  # seconds between two looks for overdue connections


@dataclass(eq=False)
class Process:
    """One worker: the core and the real connections, on simulated sockets."""

    world: World
    model: Model
    programs: Programs
    connections: dict[Link, tuple[SimSocket, Connection]] = field(default_factory=dict)
    alive: bool = True

    def __post_init__(self) -> None:
        self.world.after(SWEEP, self._sweep)

    def adopt(self, link: Link, address: str) -> None:
        end: Any = SimSocket(self.world, link)
        loop, disk = SimLoop(self.world), SimDisk(self.world)
        self.connections[link] = (end, Connection(self, end, Peer(address), loop, disk))

    def has(self, address: str) -> bool:
        return any(each.peer.address == address for _, each in self.connections.values())

    def receive(self, link: Link, data: bytes) -> None:
        if link in self.connections:
            self.connections[link][0].arrive(data)

    def lost(self, link: Link) -> None:
        if link in self.connections:
            self.connections[link][0].end()

    def die(self, *, silent: bool = False) -> None:
        self.alive = False
        for link, (end, _) in self.connections.items():
            end.die()
            link.silent = silent
            link.cut()
        self.connections.clear()

    def answer(self, record: bytes, peer: Peer) -> list[Segment]:
        return self.programs.answer(record, peer)

    def answer_without(self, record: bytes, peer: Peer, lack: Lack) -> list[Segment]:
        return self.programs.answer(record, peer, lack)

    def load(self, missing: NotLoadedError) -> SimPending:
        pending = SimPending(self.world)
        delay = self.world.dice.uniform(0.001, 0.05)
        self.world.after(
            delay, lambda: pending.finish(self._load(missing) if self.alive else missing.lack())
        )
        return pending

    def closed(self, connection: Connection, reason: Exception | None) -> None:
        for link, (_, each) in list(self.connections.items()):
            if each is connection:
                del self.connections[link]
        self.programs.leave(connection.peer)
        if not isinstance(reason, RpcError | OSError | None):
            raise reason

    def _sweep(self) -> None:
        for _, connection in list(self.connections.values()):
            reason = connection.overdue(self.world.now)
            if reason is not None:
                connection.close(reason)
        if self.alive:
            self.world.after(SWEEP, self._sweep)

    def _load(self, missing: NotLoadedError) -> Lack | None:
        catalogue, name = self.programs.catalogue, missing.store_name
        if name is None:
            view = self.model.view(missing.view)
            if view is None:
                return missing.lack()
            catalogue.add_view(view)
            return None
        index = self.model.index(name)
        if index is None:
            return missing.lack()
        catalogue.add_index(name, index)
        return None


class Service:
    """The address that clients connect to, and whatever stands behind it at the moment."""

    def __init__(self, world: World, model: Model) -> None:
        self.world = world
        self.model = model
        self.all: list[Process] = []
        self.workers: list[Process] = []
        self.links: dict[Link, Process] = {}
        self.start()

    def start(self) -> None:
        self.workers = [self._process() for _ in range(self.world.dice.choice([1, 1, 2, 3]))]

    def connect(self, link: Link, address: str) -> bool:
        """All connections of one address to one worker while it has any, as the pool does it."""
        if not self.workers:
            return False
        for worker in self.workers:
            if worker.has(address):
                break
        else:
            worker = self.world.dice.choice(self.workers)
        worker.adopt(link, address)
        self.links[link] = worker
        return True

    def receive(self, link: Link, data: bytes) -> None:
        self.links[link].receive(link, data)

    def lost(self, link: Link) -> None:
        self.links.pop(link).lost(link)

    def worker_dies(self) -> None:
        """kill -9 of one worker; another takes its place later."""
        if not self.workers:
            return
        worker = self.workers.pop(self.world.dice.randrange(len(self.workers)))
        worker.die()
        self.world.after(1.0, lambda: self.workers.append(self._process()))

    def server_dies(self) -> None:
        """kill -9 or loss of power, and the same or another server on the address later."""
        silent = self.world.dice.random() < 0.3
        for worker in self.workers:
            worker.die(silent=silent)
        self.workers = []
        self.world.after(self.world.dice.choice([0.0, 0.5, 5.0, 60.0]), self.start)

    def address_moves(self) -> None:
        """Another server takes the address over, while the first one lives on and hears no end."""
        for link in self.links:
            link.silent = True
        self.start()

    def _process(self) -> Process:
        """Each with a clock of its own and nothing in its memory, of which it has little."""
        world, ahead = self.world, self.world.dice.uniform(0, 1e6)
        memory = world.dice.choice([2000, 20000, 1 << 20])
        programs = Programs(
            KEY, "server:2049", lambda: world.now + ahead, reply_memory=memory
        )  # fmt: skip
        programs.catalogue.indexes = Memo(world.dice.choice([4000, 1 << 20]))
        process = Process(world, self.model, programs)
        self.all.append(process)
        return process
