"""Who may stay when there is no room for all."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from storeboot.nfs.v4.clients import Peer
from storeboot.serve.nfs import admission as nfs_admission
from storeboot.serve.nfs.admission import Admission

ROOM = 40
STRANGERS = ROOM // 4


def machine(admission: Admission, address: str) -> Peer | None:
    """A machine that connects and shows its handle; whoever had to go for it."""
    peer = Peer(address)
    assert admission.enter(peer) is None
    return admission.prove(peer)


@given(st.lists(st.tuples(st.integers(0, 6), st.booleans(), st.integers(0, 3)), max_size=300))
def test_there_are_never_more_than_there_is_room_for(
    steps: list[tuple[int, bool, int]],
) -> None:
    admission = Admission(ROOM)
    here: set[Peer | None] = set()
    for address, proves, leaves in steps:
        peer = Peer(str(address))
        here.add(peer)
        here -= {admission.enter(peer)}
        if proves and peer in here:
            here -= {admission.prove(peer)}
        for gone in list(here)[:leaves]:
            assert gone is not None
            admission.leave(gone)
            here.discard(gone)
        assert len(here) <= ROOM
        assert set(admission.addresses()) == {each.address for each in here if each}


def test_no_number_of_strangers_displaces_a_machine() -> None:
    admission = Admission(ROOM)
    machines = [Peer(f"machine{number}") for number in range(ROOM - STRANGERS)]
    for peer in machines:
        assert admission.enter(peer) is None
        assert admission.prove(peer) is None
    for number in range(1000):
        victim = admission.enter(Peer(f"stranger{number % 50}"))
        assert victim not in machines


def test_a_newcomer_is_let_in_for_the_oldest_of_those_who_have_most() -> None:
    admission = Admission(ROOM)
    crowd = [Peer("greedy") for _ in range(STRANGERS // 2)]
    others = [Peer(f"other{number}") for number in range(STRANGERS - len(crowd))]
    assert [admission.enter(peer) for peer in (*others, *crowd)] == [None] * STRANGERS
    assert admission.enter(Peer("machine")) is crowd[0]
    assert admission.enter(Peer("greedy")) is not None


def test_an_address_replaces_its_own_strangers_only() -> None:
    admission = Admission()
    quiet = Peer("quiet")
    admission.enter(quiet)
    crowd = [Peer("greedy") for _ in range(nfs_admission.MAX_PEER_STRANGERS + 10)]
    gone = [admission.enter(peer) for peer in crowd]
    assert [peer for peer in gone if peer is not None] == crowd[:10]


def test_a_machine_among_machines_makes_room_by_whoever_has_most() -> None:
    admission = Admission(ROOM)
    greedy = [Peer("greedy") for _ in range(10)]
    for peer in greedy:
        admission.enter(peer)
        admission.prove(peer)
    for number in range(ROOM - STRANGERS - len(greedy)):
        assert machine(admission, f"machine{number}") is None
    assert machine(admission, "newcomer") is greedy[0]


def test_when_all_have_one_connection_a_newcomer_waits() -> None:
    admission = Admission(ROOM)
    for number in range(ROOM - STRANGERS):
        assert machine(admission, f"machine{number}") is None
    newcomer = Peer("newcomer")
    assert admission.enter(newcomer) is None
    assert admission.prove(newcomer) is newcomer
