"""What must hold for any bytes that a peer sends."""

from __future__ import annotations

from pathlib import Path

from nfs_codec import NFS, call, op, opaque, words
from storeboot.nfs.handle import Handle, HandleCodec, Place, object_id, path_id
from storeboot.nfs.limits import MAX_REPLY, MAX_REQUEST
from storeboot.nfs.program import Programs
from storeboot.nfs.rpc import RecordReader, RpcError
from storeboot.nfs.v3.procedures import Proc
from storeboot.nfs.v4 import clients
from storeboot.nfs.v4.clients import Peer
from storeboot.nfs.v4.constants import Attr, Op
from storeboot.nfs.views import NotLoadedError
from storeboot.nfs.xdr import FileSlice, Segment, Writer
from unit.nfs_tree import BIG, HELLO, HIDDEN, KEY, OTHER, VIEW, loaded_programs
from unit.test_locks import lock, lock_again, lockt, locku
from unit.test_v4 import open_arguments, packed, sequence, walk

VISIBLE = {BIG, HELLO, OTHER}
RPC_ROOM = 512  # bytes of headers around the results that a reply is limited to
STREAMS = Path(__file__).parent / "streams"


def records() -> list[bytes]:
    """Calls that Linux sent while a machine booted, made to be about the tests' store; and more."""
    reader = RecordReader(MAX_REQUEST)
    captured = [
        record
        for stream in sorted(STREAMS.iterdir())
        for record in reader.feed(stream.read_bytes())
    ]
    return captured + _made()


def _made() -> list[bytes]:
    """Calls that find what they ask for."""
    everything = Writer()
    everything.bitmap(frozenset(Attr))
    all_attributes = everything.getvalue()
    listing = bytes(16) + words(4096, 4096) + all_attributes
    name, file = opaque(b"hello"), (HELLO, b"bin", b"hello")
    compounds = [
        [*walk(HELLO, b"bin"), open_arguments(1, b"hello"), op(Op.GETFH)],
        [*walk(*file), op(Op.READ, bytes(16) + bytes(8) + words(1 << 20))],
        [*walk(*file), op(Op.GETATTR, all_attributes), op(Op.ACCESS, words(63))],
        [*walk(BIG), op(Op.READ, bytes(16) + bytes(8) + words(1 << 20))],
        [*walk(HELLO, b"link"), op(Op.READLINK)],
        [*walk(HELLO), op(Op.READDIR, listing), op(Op.LOOKUPP), op(Op.READDIR, listing)],
        [*walk(HELLO, b"bin"), op(Op.SECINFO, name), op(Op.PUTROOTFH), op(Op.SAVEFH)],
        [*walk(HELLO), op(Op.SAVEFH), op(Op.RENAME, name * 2)],
        [*walk(HELLO), op(Op.CREATE, words(2) + name + words(0, 0)), op(Op.SETATTR)],
        [*walk(*file), op(Op.VERIFY, words(1, 2) + opaque(words(1))), op(Op.NVERIFY)],
        [*walk(*file), lock(1, 0, 100), lock_again(bytes(16)), locku(bytes(16)), lockt(1, 0, 100)],
        [sequence(), op(Op.TEST_STATEID, words(2) + bytes(32)), op(Op.RECLAIM_COMPLETE, bytes(4))],
    ]
    version4 = [call(NFS, 4, 1, packed(ops, minor=2)) for ops in compounds]
    handle = opaque(HandleCodec(KEY).encode(Handle(Place.STORE_OBJECT, VIEW, object_id(HELLO),
                                                   path_id(b"bin"))))  # fmt: skip
    rest = {Proc.LOOKUP: name, Proc.ACCESS: words(63), Proc.READDIR: bytes(16) + words(4096),
            Proc.READDIRPLUS: bytes(16) + words(4096, 4096)}  # fmt: skip
    return version4 + [call(NFS, 3, proc, handle + rest.get(proc, b"")) for proc in Proc]


class Target:
    """One server that is asked again and again, by peers that stay a while."""

    def __init__(self) -> None:
        self.programs = loaded_programs()
        self._peer = Peer()

    def stream(self, data: bytes) -> None:
        """A connection's bytes: RpcError, at most, ends it."""
        reader = RecordReader(MAX_REQUEST)
        try:
            for record in reader.feed(data):
                self.record(record)
        except RpcError:
            self.hang_up()

    def record(self, record: bytes) -> None:
        self._put_in_order(record)
        try:
            segments = _answer(self.programs, record, self._peer)
        except RpcError:
            return
        check_reply(record, segments)

    def _put_in_order(self, record: bytes) -> None:
        """As if the calls that came before this one on its slot had come."""
        start = 40 + (int.from_bytes(record[28:32]) + 3 & ~3)
        session = self.programs.clients.sessions.get(record[start + 16 : start + 32])
        number, slot = (int.from_bytes(record[start + at : start + at + 4]) for at in (32, 36))
        if session is not None and slot < len(session.slots):
            session.slots[slot] = number - 1

    def hang_up(self) -> None:
        self.programs.leave(self._peer)
        self._peer = Peer()

    def check_memory(self) -> None:
        known = self.programs.clients
        assert len(known._clients) <= clients.MAX_CLIENTS
        assert len(known._dead) <= clients.MAX_DEAD
        assert len(known.sessions) <= clients.MAX_CLIENTS * clients.MAX_SESSIONS
        assert len(self._peer.sessions) <= clients.MAX_SESSIONS
        assert sum(self.programs.calls.values()) < 1 << 62
        assert len(self.programs.calls) < 100


def _answer(programs: Programs, record: bytes, peer: Peer) -> list[Segment]:
    try:
        return programs.answer(record, peer)
    except NotLoadedError as missing:
        if missing.store_name is not None:  # of the views that are there, everything is
            raise
        return programs.answer(record, peer, missing.lack())


def check_reply(record: bytes, segments: list[Segment]) -> None:
    """One record for this call, no longer than promised, with nothing from outside the view."""
    size = 0
    for segment in segments:
        if isinstance(segment, FileSlice):
            assert segment.store_path in VISIBLE
            size += segment.count
        else:
            assert HIDDEN not in segment or HIDDEN in record
            size += len(segment)
    first = segments[0]
    assert isinstance(first, bytes)
    assert int.from_bytes(first[:4]) == 0x8000_0000 | size - 4
    assert first[4:8] == record[:4]
    assert size <= MAX_REPLY + RPC_ROOM
