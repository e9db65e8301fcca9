"""A peer that means harm: garbage, altered calls of others, floods of clients and sessions."""

from __future__ import annotations

from random import Random

from nfs_codec import NFS, compound_arguments, marked, op, opaque, words
from simulation.callers import header
from simulation.client4 import CHANNEL
from simulation.servers import Service
from simulation.world import Link, World
from storeboot.nfs.rpc import RecordReader
from storeboot.nfs.v4.constants import Op
from storeboot.nfs.xdr import Reader


def mutated(dice: Random, record: bytes) -> bytes:
    """A call with some bits turned, words replaced, or a part cut out or repeated."""
    data = bytearray(record)
    for _ in range(dice.choice([1, 1, 2, 5])):
        at = dice.randrange(len(data)) if data else 0
        match dice.randrange(5):
            case 0 if data:
                data[at] ^= 1 << dice.randrange(8)
            case 1:
                word = dice.choice([0, 1, 2, 0x7FFF_FFFF, 0xFFFF_FFFF, 0x8000_0000, len(data)])
                data[at & ~3 : (at & ~3) + 4] = word.to_bytes(4, "big")
            case 2:
                del data[at:]
            case 3:
                del data[at : at + dice.randrange(1, 20)]
            case _:
                data[at:at] = data[at : at + dice.randrange(1, 100)]
    return bytes(data)


class Hostile:
    """Sends, and reads enough of the answers to go on."""

    def __init__(self, world: World, service: Service, captured: list[bytes], turns: int) -> None:
        self._world = world
        self._service = service
        self._captured = captured
        self._turns = turns
        self._link: Link | None = None
        self._records = RecordReader(4 << 20)
        world.after(1.0, self._turn)

    def _turn(self) -> None:
        self._turns -= 1
        if self._turns < 0:
            return
        dice = self._world.dice
        if self._link is None:
            link = Link(self._world, self, self._service)
            if self._service.connect(link, "10.6.6.6"):
                self._link, self._records = link, RecordReader(4 << 20)
        if self._link is not None:
            self._link.to_server(self._something(dice))
        self._world.after(dice.uniform(0, 0.3), self._turn)

    def _something(self, dice: Random) -> bytes:
        chance = dice.random()
        if chance < 0.03:
            return dice.choice([b"\x7f\xff\xff\xff", b"GET / HTTP/1.1\r\n\r\n", dice.randbytes(50)])
        if chance < 0.3:
            record = _exchange_id(dice)
        elif self._captured:
            record = mutated(dice, dice.choice(self._captured))
        else:
            record = dice.randbytes(60)
        return marked(record)

    def receive(self, link: Link, data: bytes) -> None:
        """Each client id that comes back is made a client with a session."""
        try:
            for record in self._records.feed(data):
                reader = Reader(record)
                reader.take(24)
                if reader.uint32() == 0 and reader.uint32() == 0 and reader.uint32() == 1:  # noqa: SIM102
                    if (reader.uint32(), reader.uint32()) == (Op.EXCHANGE_ID, 0):
                        link.to_server(_create_session(reader.take(8), reader.uint32()))
        except ValueError:
            pass

    def lost(self, link: Link) -> None:
        if link is self._link:
            self._link = None


def _exchange_id(dice: Random) -> bytes:
    owner = opaque(b"flood %d" % dice.randrange(1 << 30))
    return _compound(op(Op.EXCHANGE_ID, bytes(8) + owner + bytes(12)))


def _create_session(client_id: bytes, sequence: int) -> bytes:
    channels = words(sequence, 0, *CHANNEL, *CHANNEL, 0, 1, 0)
    return marked(_compound(op(Op.CREATE_SESSION, client_id + channels)))


def _compound(operation: bytes) -> bytes:
    call = header(NFS, 4, 1)
    call.raw(compound_arguments([operation]))
    return call.getvalue()
