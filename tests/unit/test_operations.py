"""Rows of operations and procedures: what they say of themselves is so."""

from __future__ import annotations

from typing import Any

import pytest

from nfs_codec import NFS, call, op, opaque, words
from storeboot.nfs import limits
from storeboot.nfs.program import Programs
from storeboot.nfs.refusal import Refusal
from storeboot.nfs.status import NfsError, Status
from storeboot.nfs.v3 import acl, mount, procedures
from storeboot.nfs.v3.dispatch import Procedure
from storeboot.nfs.v4 import files, operations
from storeboot.nfs.v4.clients import Peer
from storeboot.nfs.v4.constants import Op
from storeboot.nfs.v4.operations import ALL, OPERATIONS, Operation
from storeboot.nfs.v4.state import Compound
from storeboot.nfs.walk import Walk
from storeboot.nfs.xdr import Reader, Writer, XdrError
from unit.nfs_tree import HELLO, VIEW, loaded_programs, token
from unit.test_sessions import Machine
from unit.test_v4 import packed, walk

PATHS = [(), (HELLO,), (HELLO, b"bin", b"hello"), (HELLO, b"link")]
PURE = [number for number in Op if OPERATIONS[number].pure and number is not Op.SEQUENCE]
ARGUMENTS = [
    bytes(300),
    opaque(b"nothing of this name") + bytes(200),
    opaque(b"bin") * 2 + bytes(200),
    words(1) + bytes(200),
    words(0, 0, 64, 4096, 1, 0x12) + bytes(100),
    words(0, 1, 0, 0, 0) + opaque(b"owner") + words(0, 4) + bytes(100),
]


class Nobody:
    """Whoever looks at it has looked at who asks."""

    def __getattr__(self, name: str) -> Any:
        raise AssertionError(f"a pure operation looked at {name}")


def compound(programs: Programs, *names: bytes) -> Compound:
    """One that stands at a place, of nobody knows whom."""
    nobody: Any = Nobody()
    files_only: Any = type("", (), {"identities": programs.clients.identities})
    walk = Walk(programs.catalogue)
    place = walk.mount(token().encode())
    for name in names:
        place = walk.lookup(place, name)
    state = Compound(walk, files_only, nobody, nobody, minor=2, count=1, size=100)
    state.current_or_none = state.saved = place
    return state


@pytest.mark.parametrize("number", PURE, ids=lambda number: number.name)
def test_a_pure_operation_does_not_look_at_who_asks(number: Op) -> None:
    programs, outcomes = loaded_programs(), set()
    for names in PATHS:
        for arguments in ARGUMENTS:
            try:
                OPERATIONS[number].run(compound(programs, *names), Reader(arguments), Writer())
                outcomes.add("done")
            except (NfsError, XdrError) as error:
                outcomes.add(type(error).__name__)
    assert outcomes


def test_the_check_of_purity_can_fail() -> None:
    reader = Reader(bytes(300))
    with pytest.raises(AssertionError, match="looked at"):
        OPERATIONS[Op.SETCLIENTID].run(compound(loaded_programs()), reader, Writer())


def kept(machine: Machine, *ops: bytes) -> int:
    """How many replies are kept for others, once this was asked."""
    session = machine.session()
    steps = [op(Op.SEQUENCE, session + words(1, 0, 0, 0)), *ops]
    record = call(NFS, 4, 1, packed(steps, minor=2).replace(b"\0\0\0\3tag\0", bytes(4)))
    machine.programs.answer(record, machine.peer)
    return len(machine.programs._replies._memo)


def test_a_row_that_does_not_say_pure_shares_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    ask = [*walk(HELLO)[1:], op(Op.GETATTR, words(1, 2))]
    assert kept(Machine(loaded_programs()), *ask) == 1
    forgotten = Operation(files.op_getattr, ALL)
    monkeypatch.setitem(operations._BY_NUMBER[2], Op.GETATTR, (Op.GETATTR, forgotten))
    assert kept(Machine(loaded_programs()), *ask) == 0


@pytest.mark.parametrize("then", [op(Op.LOOKUP, opaque(b"nixstore")),
                                  op(Op.SECINFO, opaque(b"nixstore"))])  # fmt: skip
def test_the_alias_is_each_peers_own(then: bytes) -> None:
    machine = Machine(loaded_programs())
    machine.peer.alias = VIEW
    assert kept(machine, op(Op.PUTROOTFH), then) == 0
    stranger = Machine(machine.programs, "10.0.0.2")
    session = stranger.session(b"boot0002")
    assert stranger.sequence(session, 1, op(Op.PUTROOTFH), then) == Status.NOENT


def test_a_mount_by_the_alias_is_not_kept() -> None:
    programs = loaded_programs()
    record = call(100005, 3, 1, opaque(b"/nixstore"))
    for alias, status in ((VIEW, Status.OK), (Refusal.NO_HOST, Status.ACCESS)):
        peer = Peer(alias=alias, proven=True)
        reply = programs.answer(record, peer)[0]
        assert isinstance(reply, bytes)
        assert reply[28:32] == words(status)


def test_what_is_refused_never_goes_well() -> None:
    programs, refused = loaded_programs(), 0
    for number, row in OPERATIONS.items():
        if row.refusal is None or 0 not in row.minors:
            continue
        steps = [op(Op.PUTROOTFH), op(Op.SAVEFH), op(number, opaque(b"name") * 2)]
        reply = programs.answer(call(NFS, 4, 1, packed(steps, minor=0)), Peer())[0]
        assert isinstance(reply, bytes)
        assert reply[28:32] == words(row.refusal), number
        refused += 1
    assert refused


def test_what_nfsv4_1_has_dropped_is_not_supported() -> None:
    """RFC 8881 section 17; and what came later is illegal before (section 18.52)."""
    dropped = {number for number, row in OPERATIONS.items() if row.minors == operations.FIRST}
    assert dropped == {Op.OPEN_CONFIRM, Op.RENEW, Op.SETCLIENTID, Op.SETCLIENTID_CONFIRM,
                       Op.RELEASE_LOCKOWNER}  # fmt: skip
    for number in dropped:
        assert operations.find(number, 0) == (number, OPERATIONS[number])
        assert operations.find(number, 1)[1].refusal is Status.NOTSUPP
    for unknown, minor in ((Op.SEQUENCE, 0), (Op.SEEK, 1), (9999, 2)):
        assert operations.find(unknown, minor)[0] is Op.ILLEGAL


@pytest.mark.parametrize("table", [procedures.PROCEDURES, mount.PROCEDURES, acl.PROCEDURES])
def test_all_procedures_but_mnt_are_pure(table: dict[int, Any]) -> None:
    own = {row.run for row in table.values() if not row.pure}
    assert own == ({mount.mnt} if table is mount.PROCEDURES else set())


def test_an_error_leaves_nothing_of_what_was_written_before(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def late(_subject: object, _arguments: Reader, results: Writer) -> None:
        results.uint32(0xDEAD)
        raise NfsError(Status.IO)

    monkeypatch.setitem(
        operations._BY_NUMBER[0], Op.PUTROOTFH, (Op.PUTROOTFH, Operation(late, ALL))
    )
    reply = loaded_programs().answer(call(NFS, 4, 1, packed([op(Op.PUTROOTFH)], minor=0)), Peer())
    assert isinstance(reply[0], bytes)
    assert reply[0].endswith(words(1, Op.PUTROOTFH, Status.IO))
    monkeypatch.setitem(
        procedures.PROCEDURES,
        1,
        Procedure(lambda _request, results: late(0, Reader(b""), results)),
    )
    reply = loaded_programs().answer(call(NFS, 3, 1, b""), Peer())
    assert reply == [words(0x8000_0000 | 28, 7, 1, 0, 0, 0, 0, Status.IO)]


def test_a_reply_that_is_kept_in_a_slot_stays_small() -> None:
    """It is not pure, so it is repeated from the slot, which has so much room."""
    machine = Machine(loaded_programs())
    state = compound(machine.programs)
    state.session = machine.programs.clients.session(machine.session(), machine.peer.address)
    state.run_once()
    assert (state.once, state.pure, state.room) == (True, False, limits.MAX_CACHED_REPLY)
