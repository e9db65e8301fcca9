"""A model NFSv4 client: sessions, slots, opens and recovery as Linux does them."""

from __future__ import annotations

from collections.abc import Generator

from typing_extensions import override

from nfs_codec import NFS, compound_arguments, op, opaque, words
from simulation.callers import WAIT, Caller, Place, Task, header
from simulation.model import content
from storeboot.nfs.index import Kind, Node
from storeboot.nfs.status import Status
from storeboot.nfs.v4.constants import Attr, Op
from storeboot.nfs.xdr import Reader, Writer

STEPS = 20
CHANNEL = (0, 1 << 20, (1 << 20) + 904, 7584, 16, 64, 0)
_LOST = {Status.BADSESSION, Status.SEQ_MISORDERED, Status.STALE_CLIENTID}
Ask = Generator[bytes, Reader, Reader]


class Client4(Caller):
    """One machine with one mount and one session; each task has a slot."""

    minor = 2

    @override
    def begin(self, tasks: int) -> None:
        self._session = b""
        self._recovering = False
        self._sequences: dict[int, int] = {}
        self._verifier = self.world.dice.randbytes(8)
        self._owner = b"Linux NFSv4.2 " + self._verifier.hex().encode()
        self.recoveries = 0
        for slot in range(tasks):
            self.start(self._work(slot))

    def _work(self, slot: int) -> Task:
        dice = self.world.dice
        steps = [(Op.PUTROOTFH, b""), _lookup(b"view"), _lookup(self.token.encode())]
        reply = yield from self._compound(slot, [*steps, (Op.GETFH, b"")])
        root = reply.opaque(64)
        for _ in range(STEPS):
            place, handle = Place(), root
            while self.node(place).kind is Kind.DIRECTORY:
                node = self.node(place)
                if not node.names or dice.random() < 0.3:
                    yield from self._list(slot, handle, node)
                    break
                name = dice.choice(node.names)
                place, handle = yield from self._down(slot, place, handle, name)
            else:
                node = self.node(place)
                if node.kind is Kind.SYMLINK:
                    ops = [_put(handle), (Op.READLINK, b"")]
                    reply = yield from self._compound(slot, ops)
                    assert reply.opaque(4096) == node.target
                else:
                    yield from self._open_and_read(slot, place, handle, node)

    def _down(
        self, slot: int, place: Place, handle: bytes, name: bytes
    ) -> Generator[bytes, Reader, tuple[Place, bytes]]:
        child = place.below(name)
        wanted = Writer()
        wanted.bitmap(frozenset({Attr.TYPE, Attr.SIZE, Attr.FILEID}))
        ops = [_put(handle), _lookup(name), (Op.GETATTR, wanted.getvalue()), (Op.GETFH, b"")]
        reply = yield from self._compound(slot, ops, last=2)
        node = self.node(child)
        reply.bitmap()
        values = Reader(reply.opaque(100))
        assert (values.uint32(), values.uint64()) == (node.kind, node.size)
        assert values.uint64() == node.fileid
        assert (reply.uint32(), reply.uint32()) == (Op.GETFH, 0)
        return child, reply.opaque(64)

    def _list(self, slot: int, handle: bytes, node: Node) -> Task:
        names, cookie, end = [], 0, False
        while not end:
            arguments = Writer()
            arguments.uint64(cookie)
            arguments.raw(bytes(8))
            arguments.uint32(1000)
            arguments.uint32(self.world.dice.choice([500, 4096]))
            arguments.bitmap(frozenset({Attr.FILEID}))
            ops = [_put(handle), (Op.READDIR, arguments.getvalue())]
            reply = yield from self._compound(slot, ops)
            reply.take(8)
            while reply.boolean():
                cookie = reply.uint64()
                names.append(reply.opaque(255))
                reply.bitmap()
                reply.opaque(100)
            end = reply.boolean()
        assert names == list(node.names), "the listing is another one"

    def _open_and_read(self, slot: int, place: Place, handle: bytes, node: Node) -> Task:
        dice = self.world.dice
        arguments = Writer()
        for value in (0, 0x20_0001, 0, 0, 0):  # READ and WANT_OPEN_XOR_DELEGATION
            arguments.uint32(value)
        arguments.opaque(b"owner")
        arguments.uint32(0)
        arguments.uint32(4)  # CLAIM_FH
        reply = yield from self._compound(slot, [_put(handle), (Op.OPEN, arguments.getvalue())])
        reply.take(16 + 20)
        reply.uint32()
        reply.bitmap()
        assert reply.uint32() == 1, "no read delegation"
        stateid = reply.take(16)
        offset, size = dice.randrange(node.size + 2), dice.choice([1, 4096, 1 << 20])
        read = stateid + offset.to_bytes(8, "big") + size.to_bytes(4, "big")
        reply = yield from self._compound(slot, [_put(handle), (Op.READ, read)])
        expected = content(
            place.store_name, place.relative, offset, min(size, max(0, node.size - offset))
        )
        assert reply.boolean() == (offset + size >= node.size)
        assert reply.opaque(1 << 20) == expected, f"wrong bytes of {place}"
        if dice.random() < 0.3:
            yield from self._lock_and_unlock(slot, handle, stateid)
        if dice.random() < 0.3:
            yield from self._compound(slot, [_put(handle), (Op.DELEGRETURN, stateid)])

    def _lock_and_unlock(self, slot: int, handle: bytes, stateid: bytes) -> Task:
        """Twice what is shared; each change counts, whichever server it is that answers."""
        reading, everything = words(1), bytes(8) + b"\xff" * 8
        owner = Writer()
        owner.raw(bytes(8))
        owner.opaque(self._owner)
        first = words(1, 0) + stateid + words(0) + owner.getvalue()
        reply = yield from self._compound(
            slot, [_put(handle), (Op.LOCK, reading + words(0) + everything + first)]
        )
        lock = reply.take(16)
        again = words(0) + lock + words(0)
        reply = yield from self._compound(
            slot, [_put(handle), (Op.LOCK, reading + words(0) + everything + again)]
        )
        held = reply.take(16)
        unlock = reading + words(0) + held + everything
        reply = yield from self._compound(slot, [_put(handle), (Op.LOCKU, unlock)])
        changes = [lock[:4], held[:4], reply.take(4)]
        assert changes == [words(1), words(2), words(3)], "a change of the lock does not count"
        assert lock[4:] == held[4:] == reply.take(12), "the lock is another one"

    def _compound(self, slot: int, ops: list[tuple[Op, bytes]], last: int = 1) -> Ask:
        """The reply in front of the result of the last-but-`last` + 1 operation; all went well."""
        while True:
            while not self._session:
                yield from self._recover()
            session, sequence = self._session, self._sequences.get(slot, 0) + 1
            turn = session + words(sequence, slot, 63, 0)
            reply = yield _packed([(Op.SEQUENCE, turn), *ops], self.minor)
            status, _tag, results = reply.uint32(), reply.opaque(0), reply.uint32()
            if status in _LOST and results == 1:
                if self._session == session:
                    self._session = b""
                continue
            assert status == 0, f"status {status} after {results} operations of {ops}"
            if session == self._session:
                self._sequences[slot] = sequence
            assert (reply.uint32(), reply.uint32()) == (Op.SEQUENCE, 0)
            assert reply.take(16) == session
            assert (reply.uint32(), reply.uint32()) == (sequence, slot), "another call's answer"
            reply.take(12)
            _skip_results(reply, ops[: len(ops) - last])
            assert (reply.uint32(), reply.uint32()) == (ops[-last][0], 0)
            return reply

    def _recover(self) -> Task:
        """EXCHANGE_ID, CREATE_SESSION, RECLAIM_COMPLETE: one task does it, the others wait."""
        if self._recovering:
            yield WAIT
            return
        self._recovering = True
        self.recoveries += 1
        exchange = self._verifier + opaque(self._owner) + words(0, 0, 0)
        reply = yield _packed([(Op.EXCHANGE_ID, exchange)], self.minor)
        assert reply.uint32() == 0
        reply.take(16)
        client_id, sequence = reply.take(8), reply.uint32()
        channel = words(*CHANNEL)
        create = client_id + words(sequence, 0) + channel * 2 + words(0, 1, 0)
        reply = yield _packed([(Op.CREATE_SESSION, create)], self.minor)
        status = reply.uint32()
        reply.take(16)
        if status == 0:
            session = reply.take(16)
            self._sequences = {}
            complete = [
                (Op.SEQUENCE, session + words(1, 0, 0, 0)),
                (Op.RECLAIM_COMPLETE, bytes(4)),
            ]
            reply = yield _packed(complete, self.minor)
            status = reply.uint32()
            if status in (0, Status.COMPLETE_ALREADY):
                self._sequences[0] = 1
                self._session = session
        self._recovering = False


def _lookup(name: bytes) -> tuple[Op, bytes]:
    return Op.LOOKUP, opaque(name)


def _put(handle: bytes) -> tuple[Op, bytes]:
    return Op.PUTFH, opaque(handle)


def _packed(ops: list[tuple[Op, bytes]], minor: int) -> bytes:
    call = header(NFS, 4, 1)
    call.raw(compound_arguments([op(*each) for each in ops], minor))
    return call.getvalue()


def _skip_results(reply: Reader, ops: list[tuple[Op, bytes]]) -> None:
    """Results of operations that have nothing but their status."""
    for number, _ in ops:
        assert (reply.uint32(), reply.uint32()) == (number, 0)
