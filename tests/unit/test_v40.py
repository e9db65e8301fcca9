"""NFSv4.0 (RFC 7530): what an initrd speaks that is told `nfs4` and nothing else."""

from __future__ import annotations

import pytest

from nfs_codec import NFS, call, compound_arguments, op, opaque, words
from storeboot.nfs.program import Programs
from storeboot.nfs.refusal import Refusal
from storeboot.nfs.status import Status
from storeboot.nfs.v4.clients import Peer
from storeboot.nfs.v4.constants import Attr, Op
from storeboot.nfs.views import Lack
from unit.nfs_tree import HELLO, KEY, VIEW, token
from unit.test_v4 import Reply, compound, open_arguments


def setclientid(name: bytes = b"Linux NFSv4.0 lab1", verifier: int = 1) -> bytes:
    callback = words(0x40000000) + opaque(b"tcp") + opaque(b"10.0.2.15.180.1") + words(1)
    return op(Op.SETCLIENTID, words(0, verifier) + opaque(name) + callback)


def client(**arguments: int) -> tuple[bytes, bytes]:
    """An id, and what it is confirmed with."""
    reply = compound(setclientid(**arguments), minor=0)  # type: ignore[arg-type]
    reply.skip(Op.SETCLIENTID)
    return reply.results.take(8), reply.results.take(8)


def after_walk(*names: bytes, then: bytes) -> Reply:
    path = [b"view", token().encode(), *names]
    steps = [op(Op.PUTROOTFH), *(op(Op.LOOKUP, opaque(name)) for name in path)]
    reply = compound(*steps, then, minor=0)
    reply.skip(Op.PUTROOTFH)
    for _ in path:
        reply.skip(Op.LOOKUP)
    assert reply.results.uint32() == int.from_bytes(then[:4])
    return reply


def test_a_client_is_confirmed_as_often_as_it_likes() -> None:
    identity, confirmation = client()
    for _ in range(2):  # Linux does it twice
        reply = compound(op(Op.SETCLIENTID_CONFIRM, identity + confirmation), minor=0)
        assert reply.status == Status.OK
    assert compound(op(Op.RENEW, identity), minor=0).status == Status.OK
    assert client() == (identity, confirmation)
    assert client(verifier=2) != (identity, confirmation)


@pytest.mark.parametrize("number", [Op.RENEW, Op.SETCLIENTID_CONFIRM])
def test_made_up_ids_are_stale(number: Op) -> None:
    assert compound(op(number, bytes(16)), minor=0).status == Status.STALE_CLIENTID


def test_a_wrong_confirmation_is_stale() -> None:
    identity, _ = client()
    reply = compound(op(Op.SETCLIENTID_CONFIRM, identity + bytes(8)), minor=0)
    assert reply.status == Status.STALE_CLIENTID


def test_a_file_is_opened_read_and_closed_without_a_session() -> None:
    reply = after_walk(HELLO, b"bin", then=open_arguments(1, b"hello"))
    assert reply.results.uint32() == Status.OK
    stateid = reply.results.take(16)
    reply.results.take(4 + 16)
    assert not reply.results.uint32() & 2  # OPEN4_RESULT_CONFIRM
    assert reply.results.bitmap() == frozenset()
    assert reply.results.uint32() == 0  # OPEN_DELEGATE_NONE: NONE_EXT came with 4.1
    reply.results.end()
    file = (HELLO, b"bin", b"hello")
    read = after_walk(*file, then=op(Op.READ, stateid + words(0, 0, 100)))
    assert read.status == Status.OK
    assert after_walk(*file, then=op(Op.CLOSE, words(2) + stateid)).status == Status.OK
    confirmed = after_walk(*file, then=op(Op.OPEN_CONFIRM, stateid + words(1)))
    assert confirmed.status == Status.OK


def test_attributes_of_later_versions_are_not_there() -> None:
    reply = after_walk(then=op(Op.GETATTR, words(1, 1 << Attr.SUPPORTED_ATTRS)))
    assert reply.results.uint32() == Status.OK
    reply.results.bitmap()
    reply.results.uint32()
    assert max(reply.results.bitmap()) == Attr.MOUNTED_ON_FILEID


@pytest.mark.parametrize("number", [Op.SEQUENCE, Op.EXCHANGE_ID, Op.RECLAIM_COMPLETE, Op.SEEK])
def test_what_came_later_is_illegal(number: Op) -> None:
    reply = compound(op(number, bytes(64)), minor=0)
    assert reply.status == Status.OP_ILLEGAL


def test_nothing_is_written() -> None:
    assert after_walk(then=op(Op.REMOVE, opaque(HELLO))).status == Status.ROFS
    for access in (2, 3):
        reply = after_walk(HELLO, b"bin", then=open_arguments(access, b"hello"))
        assert reply.status == Status.ROFS


def test_errors_of_later_versions_are_told_in_older_words() -> None:
    reply = after_walk(HELLO, then=op(Op.READLINK))
    assert reply.status == Status.INVAL
    assert compound(*[op(Op.PUTROOTFH)] * 65, minor=0).status == Status.RESOURCE


@pytest.mark.parametrize(
    ("lack", "status"),
    [(Status.DELAY, Status.DELAY), (Status.IO, Status.IO), (Status.STALE, Status.NOENT)],
)
def test_a_mount_that_cannot_be_served_is_told_from_one_that_may_not(
    lack: Status, status: Status
) -> None:
    """By LOOKUP of the token, or of the alias."""
    by_token = [op(Op.LOOKUP, opaque(b"view")), op(Op.LOOKUP, opaque(token().encode()))]
    for path in (by_token, [op(Op.LOOKUP, opaque(b"nixstore"))]):
        record = call(NFS, 4, 1, compound_arguments([op(Op.PUTROOTFH), *path], 0))
        told = Programs(KEY).answer(record, Peer(alias=VIEW), Lack(lack, view=VIEW))[0]
        assert isinstance(told, bytes)
        assert told[28:32] == words(status)
    wrong = [op(Op.LOOKUP, opaque(b"view")), op(Op.LOOKUP, opaque(b"0" * 64))]
    assert compound(op(Op.PUTROOTFH), *wrong, minor=0).status == Status.ACCESS


@pytest.mark.parametrize("refusal", [Refusal.NO_HOST, Refusal.NO_SYSTEM, Refusal.NO_ALIAS])
def test_the_alias_is_refused_for_a_reason(refusal: Refusal) -> None:
    told: list[Refusal] = []
    peer = Peer(alias=refusal, on_refusal=lambda _peer, reason: told.append(reason))
    steps = [op(Op.PUTROOTFH), op(Op.LOOKUP, opaque(b"nixstore"))]
    reply = Programs(KEY).answer(call(NFS, 4, 1, compound_arguments(steps, 0)), peer)[0]
    assert isinstance(reply, bytes)
    assert reply[28:32] == words(refusal.status)
    assert told == [refusal]
