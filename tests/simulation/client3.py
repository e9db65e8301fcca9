"""A model NFSv3 client: walks the view at random and holds every answer against the truth."""

from __future__ import annotations

from collections.abc import Generator

from typing_extensions import override

from nfs_codec import MOUNT, NFS
from simulation.callers import Caller, Place, Task, header
from simulation.model import content
from storeboot.nfs.index import Kind, Node
from storeboot.nfs.v3.procedures import Proc
from storeboot.nfs.xdr import Reader, Writer

STEPS = 25
Ask = Generator[bytes, Reader, Reader]


class Client3(Caller):
    """One machine with one mount."""

    @override
    def begin(self, tasks: int) -> None:
        for _ in range(tasks):
            self.start(self._work())

    def _work(self) -> Task:
        root = yield from self._mount()
        known = {Place(): root}
        dice = self.world.dice
        for _ in range(STEPS):
            place = dice.choice(list(known))
            node = self.node(place)
            if node.kind is Kind.DIRECTORY:
                if node.names and dice.random() < 0.7:
                    name = dice.choice(node.names)
                    known[place.below(name)] = yield from self._lookup(
                        known[place], place.below(name), name
                    )
                elif dice.random() < 0.3:
                    yield from self._lookup_nothing(known[place], node)
                else:
                    yield from self._list(known, place, plus=dice.random() < 0.5)
            elif node.kind is Kind.SYMLINK:
                yield from self._readlink(known[place], node)
            else:
                yield from self._read(known[place], place, node)

    def _call(self, procedure: Proc, arguments: Writer) -> Ask:
        call = header(NFS, 3, procedure)
        call.extend(arguments)
        return (yield call.getvalue())

    def _mount(self) -> Generator[bytes, Reader, bytes]:
        call = header(MOUNT, 3, 1)
        call.opaque(b"/view/" + self.token.encode())
        reply = yield call.getvalue()
        assert reply.uint32() == 0
        return reply.opaque(64)

    def _lookup(self, handle: bytes, found: Place, name: bytes) -> Generator[bytes, Reader, bytes]:
        arguments = _handle(handle)
        arguments.opaque(name)
        reply = yield from self._call(Proc.LOOKUP, arguments)
        assert reply.uint32() == 0, f"LOOKUP of {name!r}"
        child = reply.opaque(64)
        _check_attributes(reply, self.node(found))
        return child

    def _lookup_nothing(self, handle: bytes, node: Node) -> Task:
        arguments = _handle(handle)
        arguments.opaque(b"nothing of this name")
        reply = yield from self._call(Proc.LOOKUP, arguments)
        assert reply.uint32() == 2

    def _readlink(self, handle: bytes, node: Node) -> Task:
        reply = yield from self._call(Proc.READLINK, _handle(handle))
        assert reply.uint32() == 0
        _check_attributes(reply, node)
        assert reply.opaque(4096) == node.target

    def _read(self, handle: bytes, place: Place, node: Node) -> Task:
        dice = self.world.dice
        offset, size = dice.randrange(node.size + 2), dice.choice([1, 1000, 4096, 1 << 20])
        arguments = _handle(handle)
        arguments.uint64(offset)
        arguments.uint32(size)
        reply = yield from self._call(Proc.READ, arguments)
        assert reply.uint32() == 0
        _check_attributes(reply, node)
        expected = content(
            place.store_name, place.relative, offset, min(size, max(0, node.size - offset))
        )
        assert reply.uint32() == len(expected)
        assert reply.boolean() == (offset + size >= node.size)
        assert reply.opaque(1 << 20) == expected, f"wrong bytes of {place}"

    def _list(self, known: dict[Place, bytes], place: Place, *, plus: bool) -> Task:
        """Page by page, each perhaps from another server."""
        names, cookie, end = [], 0, False
        while not end:
            arguments = _handle(known[place])
            arguments.uint64(cookie)
            arguments.raw(bytes(8))
            if plus:
                arguments.uint32(1000)
            arguments.uint32(self.world.dice.choice([800, 4096]))
            reply = yield from self._call(Proc.READDIRPLUS if plus else Proc.READDIR, arguments)
            assert reply.uint32() == 0
            _check_attributes(reply, self.node(place))
            reply.take(8)
            while reply.boolean():
                number, name, cookie = reply.uint64(), reply.opaque(255), reply.uint64()
                names.append(name)
                if plus:
                    _skip_attributes(reply)
                    handle = reply.opaque(64) if reply.boolean() else b""
                    if name not in (b".", b".."):
                        child = place.below(name)
                        known[child] = handle
                        assert self.node(child).fileid == number, "the listing numbers otherwise"
            end = reply.boolean()
        assert names == [b".", b"..", *self.node(place).names], "the listing is another one"


def _handle(handle: bytes) -> Writer:
    writer = Writer()
    writer.opaque(handle)
    return writer


def _skip_attributes(reply: Reader) -> None:
    if reply.boolean():
        reply.take(84)


def _check_attributes(reply: Reader, node: Node) -> None:
    """post_op_attr: type, mode, nlink, uid, gid, size, used, rdev, fsid, fileid, three times."""
    assert reply.boolean()
    kind, mode, _nlink, uid, gid, size = (*(reply.uint32() for _ in range(5)), reply.uint64())
    reply.take(24)
    number = reply.uint64()
    reply.take(24)
    assert (kind, mode, uid, gid, size) == (node.kind, node.mode, 0, 0, node.size)
    assert not node.fileid or number == node.fileid
