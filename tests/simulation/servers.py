"""The server side: worker processes around the real core, that die, are replaced, or move."""

from __future__ import annotations

from dataclasses import dataclass, field

from simulation.model import SECRET, Model, data
from simulation.world import Link, World
from storeboot.nfs.limits import MAX_REQUEST
from storeboot.nfs.memo import Memo
from storeboot.nfs.program import Programs
from storeboot.nfs.rpc import RecordReader, RpcError
from storeboot.nfs.v4.clients import Peer
from storeboot.nfs.views import NotLoadedError
from storeboot.nfs.xdr import FileSlice, Segment

KEY = b"k" * 32


@dataclass(eq=False)
class Process:
    """One worker: the core, and a shell without sockets around it."""

    world: World
    model: Model
    programs: Programs
    peers: dict[Link, tuple[Peer, RecordReader]] = field(default_factory=dict)
    alive: bool = True

    def adopt(self, link: Link, address: str) -> None:
        self.peers[link] = (Peer(address), RecordReader(MAX_REQUEST))

    def receive(self, link: Link, data: bytes) -> None:
        if not self.alive or link not in self.peers:
            return
        peer, records = self.peers[link]
        try:
            for record in records.feed(data):
                self._ask(link, peer, record)
        except RpcError:
            self.lost(link)
            link.cut()

    def lost(self, link: Link) -> None:
        left = self.peers.pop(link, None)
        if left is not None and self.alive:
            self.programs.leave(left[0])

    def die(self, *, silent: bool = False) -> None:
        self.alive = False
        for link in list(self.peers):
            link.silent = silent
            link.cut()
        self.peers.clear()

    def _ask(self, link: Link, peer: Peer, record: bytes) -> None:
        try:
            self._reply(link, self.programs.answer(record, peer))
        except NotLoadedError as error:
            # `error` is unbound behind its clause.
            missing = error
            delay = self.world.dice.uniform(0.001, 0.05)
            self.world.after(delay, lambda: self._loaded(link, peer, record, missing))

    def _loaded(self, link: Link, peer: Peer, record: bytes, missing: NotLoadedError) -> None:
        if not self.alive or link not in self.peers:
            return
        try:
            if self._load(missing):
                self._ask(link, peer, record)
            else:
                self._reply(link, self.programs.answer_without(record, peer, missing))
        except RpcError:
            link.cut()

    def _load(self, missing: NotLoadedError) -> bool:
        catalogue = self.programs.catalogue
        if missing.store_name is None:
            view = self.model.view(missing.view)
            if view is None:
                return False
            catalogue.add_view(view)
            return True
        index = self.model.index(missing.store_name)
        if index is None:
            return False
        catalogue.add_index(missing.store_name, index)
        return True

    def _reply(self, link: Link, segments: list[Segment]) -> None:
        parts = []
        for segment in segments:
            if isinstance(segment, FileSlice):
                assert SECRET not in segment.store_path, f"data from outside the view: {segment}"
                parts.append(data(segment))
            else:
                parts.append(segment)
        whole = b"".join(parts)
        assert SECRET not in whole, "a name from outside the view"
        assert int.from_bytes(whole[:4]) == 0x8000_0000 | len(whole) - 4
        link.to_client(whole)


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
            if any(peer.address == address for peer, _ in worker.peers.values()):
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
        programs.catalogue._indexes = Memo(world.dice.choice([4000, 1 << 20]))
        process = Process(world, self.model, programs)
        self.all.append(process)
        return process
