"""Clients, sessions and slots: strict where one process sees all, forgiving where it does not."""

from __future__ import annotations

from itertools import pairwise

import pytest

from nfs_codec import NFS, call, op, opaque, words
from storeboot.nfs.program import Programs
from storeboot.nfs.status import Status
from storeboot.nfs.v4 import clients, files
from storeboot.nfs.v4.clients import Peer
from storeboot.nfs.v4.constants import Attr, Op
from storeboot.nfs.xdr import Reader, Writer
from unit.nfs_tree import HELLO, KEY, accepted, loaded_programs
from unit.test_v4 import WIDE_CHANNEL, packed, walk

LEASE = 90


class Machine:
    """One connection to one server."""

    def __init__(self, programs: Programs, address: str = "10.0.0.1") -> None:
        self.programs = programs
        self.peer = Peer(address)

    def ask(self, *ops: bytes) -> tuple[int, Reader]:
        """Status of the compound, and its results behind the first one's status."""
        reply = accepted(self.programs, call(NFS, 4, 1, packed(ops, minor=2)), self.peer)
        status = reply.uint32()
        reply.opaque(10)
        if reply.uint32():
            reply.take(8)
        return status, reply

    def exchange(self, verifier: bytes = b"boot0001", owner: bytes = b"Linux") -> tuple[bytes, int]:
        """Client id, and the sequence id for CREATE_SESSION."""
        status, reply = self.ask(op(Op.EXCHANGE_ID, verifier + opaque(owner) + bytes(12)))
        assert status == Status.OK
        return reply.take(8), reply.uint32()

    def create(self, client_id: bytes, sequence: int) -> tuple[int, bytes]:
        arguments = client_id + words(sequence, 0) + WIDE_CHANNEL * 2 + words(0, 1, 0)
        status, reply = self.ask(op(Op.CREATE_SESSION, arguments))
        return status, b"" if status else reply.take(16)

    def session(self, verifier: bytes = b"boot0001") -> bytes:
        status, session = self.create(*self.exchange(verifier))
        assert status == Status.OK
        return session

    def sequence(self, session: bytes, number: int, *ops: bytes, slot: int = 0) -> int:
        return self.ask(op(Op.SEQUENCE, session + words(number, slot, 0, 0)), *ops)[0]


@pytest.fixture
def machine() -> Machine:
    return Machine(loaded_programs())


def test_slots_are_held_to_their_order(machine: Machine) -> None:
    session = machine.session()
    assert machine.sequence(session, 1) == Status.OK
    assert machine.sequence(session, 1) == Status.OK  # asked again, answered again
    assert machine.sequence(session, 2) == Status.OK
    assert machine.sequence(session, 4) == Status.SEQ_MISORDERED
    assert machine.sequence(session, 1) == Status.SEQ_MISORDERED
    assert machine.sequence(session, 1, slot=63) == Status.OK
    assert machine.sequence(session, 1, slot=64) == Status.BADSLOT


def test_what_must_not_be_done_twice_is_answered_from_the_slot(machine: Machine) -> None:
    session = machine.session()
    complete = op(Op.RECLAIM_COMPLETE, bytes(4))
    assert machine.sequence(session, 1, complete) == Status.OK
    assert machine.sequence(session, 1, complete) == Status.OK
    assert machine.sequence(session, 2, complete) == Status.COMPLETE_ALREADY


def test_create_session_is_answered_again_and_in_order(machine: Machine) -> None:
    client_id, sequence = machine.exchange()
    first = machine.create(client_id, sequence)
    assert machine.create(client_id, sequence) == first
    assert machine.create(client_id, sequence + 2)[0] == Status.SEQ_MISORDERED
    status, other = machine.create(client_id, sequence + 1)
    assert (status, other != first[1]) == (Status.OK, True)


def test_a_destroyed_session_is_dead_a_forgotten_one_is_not(machine: Machine) -> None:
    session = machine.session()
    machine.programs.leave(machine.peer)
    assert machine.sequence(session, 77) == Status.OK
    assert machine.ask(op(Op.DESTROY_SESSION, session))[0] == Status.OK
    assert machine.sequence(session, 78) == Status.BADSESSION


def test_a_rebooted_client_ends_its_earlier_sessions(machine: Machine) -> None:
    before = machine.session(b"boot0001")
    client_id, sequence = machine.exchange(b"boot0002")
    assert machine.sequence(before, 1) == Status.OK  # until the new one is confirmed
    assert machine.create(client_id, sequence)[0] == Status.OK
    assert machine.sequence(before, 2) == Status.BADSESSION


def test_machines_of_one_name_at_two_addresses_do_not_end_each_other(machine: Machine) -> None:
    other = Machine(machine.programs, "10.0.0.2")
    session = machine.session(b"boot0001")
    assert other.session(b"boot0002")
    assert machine.sequence(session, 1) == Status.OK


def test_an_overheard_id_is_of_no_use_elsewhere(machine: Machine) -> None:
    session = machine.session()
    for programs in (machine.programs, loaded_programs()):
        stranger = Machine(programs, "10.6.6.6")
        assert stranger.sequence(session, 1) == Status.BADSESSION
        assert stranger.ask(op(Op.DESTROY_SESSION, session))[0] == Status.BADSESSION
        assert stranger.create(session[:8], 1)[0] == Status.STALE_CLIENTID


def test_another_process_goes_on_with_any_sequence_id(machine: Machine) -> None:
    session = machine.session()
    other = Machine(loaded_programs())
    assert other.sequence(session, 1234) == Status.OK
    assert other.sequence(session, 1235) == Status.OK
    assert other.sequence(session, 1234) == Status.SEQ_MISORDERED


def test_a_session_of_another_process_at_the_same_sequence_has_another_id() -> None:
    early, late = Programs(KEY, clock=lambda: 0.0), Programs(KEY, clock=lambda: 5.0)
    made = [Machine(programs).session() for programs in (early, late)]
    assert made[0][:8] == made[1][:8]
    assert made[0] != made[1]


def test_an_unconfirmed_client_that_comes_again_is_another_one(machine: Machine) -> None:
    """Section 18.35.4, case 4; however often, and however fast."""
    seen = [machine.exchange() for _ in range(100)]
    assert all(first[0] != second[0] for first, second in pairwise(seen))
    assert machine.create(*seen[-1])[0] == Status.OK


def test_a_client_that_confirms_nothing_is_given_up_after_a_lease() -> None:
    now = [0.0]
    machine = Machine(Programs(KEY, clock=lambda: now[0], lease=LEASE))
    client_id, sequence = machine.exchange()
    now[0] = LEASE + 1
    assert machine.create(client_id, sequence)[0] == Status.STALE_CLIENTID


def test_clients_and_sessions_are_bounded(
    machine: Machine, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(clients, "MAX_CLIENTS", 5)
    monkeypatch.setattr(clients, "MAX_SESSIONS", 3)
    sessions = []
    for number in range(20):
        status, session = machine.create(*machine.exchange(b"%08d" % number, b"n%d" % number))
        assert status == Status.OK
        sessions.append(session)
    known = machine.programs.clients
    assert len(known._clients) == 5
    assert len(machine.peer.sessions) == 3
    assert machine.sequence(sessions[0], 9) == Status.OK  # soft state: taken over again
    client_id, sequence = machine.exchange(b"many----")
    codes = [machine.create(client_id, sequence + number)[0] for number in range(4)]
    assert codes == [Status.OK] * 3 + [Status.NOSPC]


def test_the_server_owner_is_of_the_address() -> None:
    first, second = (Programs(KEY, service).clients.identities for service in ("a:2049", "b:2049"))
    again = Programs(KEY, "a:2049").clients.identities
    assert first.server_owner == again.server_owner != second.server_owner
    assert first.server_scope == again.server_scope != second.server_scope


def test_a_replayed_reply_is_nobody_elses(machine: Machine) -> None:
    complete = op(Op.RECLAIM_COMPLETE, bytes(4))
    session = machine.session()
    for _ in range(3):
        assert machine.sequence(session, 1, complete) == Status.OK
    assert machine.sequence(session, 2, complete) == Status.COMPLETE_ALREADY
    other = Machine(machine.programs, "10.0.0.2")
    theirs = other.session(b"boot0002")
    assert other.sequence(theirs, 1, complete) == Status.OK
    assert other.sequence(theirs, 2, complete) == Status.COMPLETE_ALREADY


def test_a_reply_that_is_kept_may_come_again_on_another_connection(machine: Machine) -> None:
    session = machine.session()
    complete = op(Op.RECLAIM_COMPLETE, bytes(4))
    assert machine.sequence(session, 1, complete) == Status.OK
    machine.programs.leave(machine.peer)
    again = Machine(machine.programs, machine.peer.address)
    assert again.sequence(session, 1, complete) == Status.OK
    assert again.sequence(session, 2, complete) == Status.COMPLETE_ALREADY


def test_reclaim_complete_among_other_operations(machine: Machine) -> None:
    """With file data behind it, and with so much that it could not be kept."""
    session = machine.session()
    complete = op(Op.RECLAIM_COMPLETE, bytes(4))
    read = op(Op.READ, bytes(16) + bytes(8) + words(100))
    steps = walk(HELLO, b"bin", b"hello")[1:]
    assert machine.sequence(session, 1, complete, *steps, read) == Status.OK
    everything = Writer()
    everything.bitmap(frozenset(Attr))
    many = [op(Op.GETATTR, everything.getvalue())] * 40
    exchange = op(Op.EXCHANGE_ID, b"boot0009" + opaque(b"Linux") + bytes(12))
    assert machine.sequence(session, 2, exchange, *steps, *many) == Status.REP_TOO_BIG


def test_all_sessions_together_are_bounded(
    machine: Machine, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(clients, "MAX_ALL_SESSIONS", 10)
    for number in range(40):
        machine.create(*machine.exchange(b"%08d" % number, b"n%d" % number))
    assert len(machine.programs.clients.sessions) == 10
    machine.programs.leave(machine.peer)
    assert not machine.programs.clients.sessions


def test_listings_of_one_compound_are_bounded_together(
    machine: Machine, monkeypatch: pytest.MonkeyPatch
) -> None:
    session = machine.session()
    listing = op(Op.READDIR, bytes(16) + words(1 << 20, 1 << 20) + words(1, 1 << 1))
    steps = walk(HELLO)[1:]
    assert machine.sequence(session, 1, *steps, listing, listing) == Status.OK
    monkeypatch.setattr(files, "MAX_LISTING", 600)
    assert machine.sequence(session, 2, *steps, *[listing] * 3) == Status.TOOSMALL
