from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import count

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nfs_codec import NFS, call, compound_arguments, op, opaque, words
from storeboot.nfs.status import Status
from storeboot.nfs.v4.attributes import ENCODERS
from storeboot.nfs.v4.constants import Attr, Op
from storeboot.nfs.v4.operations import OPERATIONS
from storeboot.nfs.xdr import Reader, Writer
from unit.nfs_tree import BIG, HELLO, HIDDEN, ODD, accepted, loaded_programs, reply, token

PROGRAMS = loaded_programs()


@dataclass(frozen=True)
class Reply:
    status: int
    count: int
    results: Reader

    def skip(self, op: Op, size: int = 0) -> None:
        """One operation that went well, and the bytes of its result."""
        assert (self.results.uint32(), self.results.uint32()) == (op, Status.OK)
        self.results.take(size)


def packed(ops: Sequence[bytes], minor: int) -> bytes:
    return compound_arguments(ops, minor, b"tag")


def compound(*ops: bytes, minor: int = 2) -> Reply:
    reader = accepted(PROGRAMS, call(NFS, 4, 1, packed(ops, minor)))
    status = reader.uint32()
    assert reader.opaque(10) == b"tag"
    return Reply(status, reader.uint32(), reader)


VERIFIERS = count(1)


def exchange_id(verifier: bytes | None = None) -> bytes:
    """A client that has just booted, unless another verifier is given."""
    verifier = verifier or words(0, next(VERIFIERS))
    return op(Op.EXCHANGE_ID, verifier + opaque(b"Linux NFSv4.2 lab1") + bytes(12))


WIDE_CHANNEL = words(0, 1049620, 1049480, 7584, 64, 64, 0)


def create_session(client: bytes, channel: bytes = WIDE_CHANNEL, sequence: int = 1) -> bytes:
    return op(Op.CREATE_SESSION, client + words(sequence, 0) + channel * 2 + words(0, 1, 0))


def session(verifier: bytes | None = None) -> bytes:
    reply = compound(exchange_id(verifier))
    reply.skip(Op.EXCHANGE_ID)
    client = reply.results.take(8)
    reply = compound(create_session(client))
    reply.skip(Op.CREATE_SESSION)
    return reply.results.take(16)


def sequence() -> bytes:
    return op(Op.SEQUENCE, session() + words(1, 0, 0, 0))


def walk(*names: bytes) -> list[bytes]:
    path = [b"view", token().encode(), *names]
    return [sequence(), op(Op.PUTROOTFH), *(op(Op.LOOKUP, opaque(name)) for name in path)]


def after_walk(*names: bytes, then: bytes, minor: int = 2) -> Reply:
    """The reply to one operation behind a walk, read up to that operation's result."""
    steps = walk(*names)
    reply = compound(*steps, then, minor=minor)
    reply.skip(Op.SEQUENCE, 36)
    reply.skip(Op.PUTROOTFH)
    for _ in steps[2:]:
        reply.skip(Op.LOOKUP)
    reply.results.uint32()
    return reply


def open_arguments(access: int, name: bytes, *, create: bool = False) -> bytes:
    writer = Writer()
    for value in (0, access, 0):
        writer.uint32(value)
    writer.uint64(1)
    writer.opaque(b"owner")
    writer.boolean(create)  # OPEN4_NOCREATE or OPEN4_CREATE
    writer.uint32(0)  # CLAIM_NULL
    writer.opaque(name)
    return op(Op.OPEN, writer.getvalue())


def test_session__the_channel_is_never_wider_than_asked() -> None:
    reply = compound(exchange_id())
    reply.skip(Op.EXCHANGE_ID)
    client = reply.results.take(8)
    reply = compound(create_session(client, words(0, 2000, 3000, 100, 5, 2, 0)))
    reply.skip(Op.CREATE_SESSION, 16 + 4 + 4)
    assert [reply.results.uint32() for _ in range(7)] == [0, 2000, 3000, 100, 5, 2, 0]


def test_session__another_process_with_the_key_knows_it() -> None:
    mine = session()
    again = loaded_programs()
    record = call(NFS, 4, 1, packed([op(Op.SEQUENCE, mine + words(77, 0, 0, 0))], minor=2))
    assert accepted(again, record).uint32() == Status.OK


def test_session__machines_of_one_name_are_two_clients() -> None:
    assert session(b"machine1") != session(b"machine2")


def test_sequence__a_made_up_session_is_bad() -> None:
    assert compound(op(Op.SEQUENCE, bytes(32))).status == Status.BADSESSION


def test_compound__rules_of_sequence() -> None:
    assert compound(op(Op.PUTROOTFH)).status == Status.OP_NOT_IN_SESSION
    twice = sequence()
    assert compound(twice, twice).status == Status.SEQUENCE_POS
    assert compound(exchange_id(), op(Op.PUTROOTFH)).status == Status.NOT_ONLY_OP


@pytest.mark.parametrize("minor", [3, 4])
def test_compound__other_minor_versions_are_a_mismatch(minor: int) -> None:
    reply = compound(minor=minor)
    assert (reply.status, reply.count) == (Status.MINOR_VERS_MISMATCH, 0)


def test_compound__unknown_operations_are_illegal_in_their_version() -> None:
    assert compound(sequence(), (9999).to_bytes(4, "big")).status == Status.OP_ILLEGAL
    assert compound(sequence(), op(Op.SEEK), minor=1).status == Status.OP_ILLEGAL
    assert compound(sequence(), op(Op.SEEK), minor=2).status == Status.NOTSUPP


def test_compound__every_operation_has_an_answer() -> None:
    assert set(OPERATIONS) == set(Op)


def test_lookup__stays_inside_the_view() -> None:
    assert after_walk(then=op(Op.LOOKUP, opaque(HIDDEN))).status == Status.NOENT
    assert after_walk(HELLO, then=op(Op.LOOKUP, opaque(b".."))).status == Status.BADNAME
    assert after_walk(HELLO, then=op(Op.LOOKUP, opaque(ODD))).status == Status.OK


def test_lookup__through_a_symlink_is_symlink() -> None:
    assert after_walk(HELLO, b"link", then=op(Op.LOOKUP, opaque(b"x"))).status == Status.SYMLINK


def test_getattr__owner_is_a_number_and_acls_do_not_exist() -> None:
    wanted = Writer()
    wanted.bitmap(frozenset({Attr.TYPE, Attr.MODE, Attr.OWNER, 12}))
    reply = after_walk(HELLO, b"bin", b"hello", then=op(Op.GETATTR, wanted.getvalue()))
    assert reply.results.uint32() == Status.OK
    assert reply.results.bitmap() == {Attr.TYPE, Attr.MODE, Attr.OWNER}
    values = Reader(reply.results.opaque(100))
    assert (values.uint32(), values.uint32(), values.opaque(4)) == (1, 0o555, b"0")


def test_getattr__every_attribute_has_an_encoder() -> None:
    assert set(ENCODERS) == set(Attr)


def test_open__grants_a_read_delegation() -> None:
    reply = after_walk(HELLO, b"bin", then=open_arguments(1, b"hello"))
    assert reply.results.uint32() == Status.OK
    stateid = reply.results.take(16)
    assert stateid != bytes(16)
    reply.results.take(4 + 16)
    assert reply.results.uint32() == 4
    assert reply.results.bitmap() == frozenset()
    assert reply.results.uint32() == 1


def test_open__xor_delegation_needs_no_open_stateid() -> None:
    reply = after_walk(HELLO, b"bin", then=open_arguments(0x20_0001, b"hello"))
    assert reply.results.uint32() == Status.OK
    assert reply.results.take(16) == bytes(16)
    reply.results.take(4 + 16)
    assert reply.results.uint32() == 0x14


@pytest.mark.parametrize(
    ("access", "name", "status"),
    [(2, b"empty", Status.ROFS), (3, b"empty", Status.ROFS), (1, b"bin", Status.ISDIR),
     (1, b"link", Status.SYMLINK), (1, b"none", Status.NOENT)],
)  # fmt: skip
def test_open__what_cannot_be_opened(access: int, name: bytes, status: Status) -> None:
    assert after_walk(HELLO, then=open_arguments(access, name)).status == status


NEW = opaque(b"new")


@pytest.mark.parametrize(
    "change",
    [op(Op.WRITE), op(Op.SETATTR), op(Op.COMMIT), op(Op.CREATE), op(Op.REMOVE, NEW),
     op(Op.RENAME, NEW * 2), op(Op.LINK, NEW)],
)  # fmt: skip
def test_every_change_is_refused_as_read_only(change: bytes) -> None:
    steps = [*walk(HELLO), op(Op.SAVEFH), change]
    assert compound(*steps).status == Status.ROFS


@pytest.mark.parametrize(
    ("before", "change", "status"),
    [
        ((), op(Op.RENAME, NEW * 2), Status.NOFILEHANDLE),
        ((op(Op.SAVEFH),), op(Op.RENAME, opaque(b"") * 2), Status.INVAL),
        ((op(Op.SAVEFH),), op(Op.RENAME, NEW + opaque(b"..")), Status.BADNAME),
        ((op(Op.LOOKUP, opaque(b"empty")), op(Op.SAVEFH)), op(Op.RENAME, NEW * 2), Status.NOTDIR),
        ((op(Op.LOOKUP, opaque(b"link")),), op(Op.REMOVE, NEW), Status.SYMLINK),
        ((), op(Op.LINK, NEW), Status.NOFILEHANDLE),
    ],
)
def test_mistakes_in_changes_are_told_apart(
    before: tuple[bytes, ...], change: bytes, status: Status
) -> None:
    assert compound(*walk(HELLO), *before, change).status == status


def test_readdir__pages_give_each_name_once() -> None:
    names, cookie = [], 0
    for _ in range(20):
        arguments = Writer()
        arguments.uint64(cookie)
        arguments.raw(bytes(8))
        arguments.uint32(400)
        arguments.uint32(400)
        arguments.bitmap(frozenset({Attr.FILEID}))
        reply = after_walk(HELLO, then=op(Op.READDIR, arguments.getvalue()))
        assert reply.results.uint32() == Status.OK
        reply.results.take(8)
        while reply.results.boolean():
            cookie = reply.results.uint64()
            names.append(reply.results.opaque(255))
            reply.results.bitmap()
            reply.results.opaque(100)
        if reply.results.boolean():
            break
    assert len(names) == len(set(names)) == 6


@given(st.lists(st.sampled_from(sorted(Op)), max_size=6), st.binary(max_size=200))
def test_any_operations_with_any_arguments_get_an_answer(ops: list[Op], data: bytes) -> None:
    """Arguments that eat the operations behind them may make the whole call GARBAGE_ARGS."""
    steps = [*walk(HELLO), *(op(number, data) for number in ops)]
    reader = reply(PROGRAMS, call(NFS, 4, 1, packed(steps, minor=2)))
    assert [reader.uint32() for _ in range(5)] == [7, 1, 0, 0, 0]
    assert reader.uint32() in (0, 4)


def test_compound__replies_stay_within_what_the_session_promised() -> None:
    """Many large listings in one call: the one that no longer fits is REP_TOO_BIG."""
    large = Writer()
    large.bitmap(frozenset(Attr))
    many = [op(Op.GETATTR, large.getvalue())] * 55
    assert compound(*walk(HELLO), *many).status == Status.OK
    read = op(Op.READ, bytes(16) + bytes(8) + (1 << 20).to_bytes(4, "big"))
    reply = compound(*walk(BIG), *[read] * 3)
    assert reply.status == Status.REP_TOO_BIG
    assert reply.count == 5 + 2
