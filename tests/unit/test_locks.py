"""Byte-range locks of a file that nobody can change."""

from __future__ import annotations

import pytest

from nfs_codec import call, op, opaque, words
from storeboot.nfs.status import Status
from storeboot.nfs.v4.constants import Op
from unit import test_v40
from unit.nfs_tree import HELLO, accepted, loaded_programs
from unit.test_v4 import Reply, after_walk, packed, walk

FILE = (HELLO, b"bin", b"hello")
READ, WRITE, READW, WRITEW = 1, 2, 3, 4
TO_THE_END = (1 << 64) - 1
OWNER = bytes(8) + opaque(b"a program")


def reach(offset: int, length: int) -> bytes:
    return offset.to_bytes(8) + length.to_bytes(8)


def lock(kind: int, offset: int, length: int, owner: bytes = OWNER) -> bytes:
    """The first lock of an owner, on an open that nothing is known of."""
    opened = words(1, 1) + bytes(16) + words(1)
    return op(Op.LOCK, words(kind, 0) + reach(offset, length) + opened + owner)


def lock_again(stateid: bytes, kind: int = READ) -> bytes:
    return op(Op.LOCK, words(kind, 0) + reach(0, 10) + words(0) + stateid + words(2))


def lockt(kind: int, offset: int, length: int) -> bytes:
    return op(Op.LOCKT, words(kind) + reach(offset, length) + OWNER)


def locku(stateid: bytes) -> bytes:
    return op(Op.LOCKU, words(READ, 3) + stateid + reach(0, 10))


def stateid(reply: Reply) -> bytes:
    assert reply.results.uint32() == Status.OK
    state = reply.results.take(16)
    reply.results.end()
    return state


@pytest.mark.parametrize("kind", [READ, READW])
def test_lock__a_shared_one_is_granted_to_every_owner(kind: int) -> None:
    owners = [bytes(8) + opaque(name) for name in (b"one", b"another")]
    first, second = (stateid(after_walk(*FILE, then=lock(kind, 0, 1, owner))) for owner in owners)
    assert first[:4] == second[:4] == words(1)
    assert first[4:] != second[4:]


def test_lock__without_sessions_as_an_initrd_has_it() -> None:
    """NFSv4.0 grants no delegation, so its clients ask for every lock."""
    reply = test_v40.after_walk(*FILE, then=lock(READ, 0, TO_THE_END))
    held = stateid(reply)
    assert stateid(test_v40.after_walk(*FILE, then=locku(held)))[4:] == held[4:]


def test_lock__each_change_counts() -> None:
    """Section 8.2.2: Linux would ask for ever for one that does not."""
    state = stateid(after_walk(*FILE, then=lock(READ, 0, 10)))
    for number, ask in enumerate((lock_again, lock_again, locku), 2):
        changed = stateid(after_walk(*FILE, then=ask(state)))
        assert changed == words(number) + state[4:]
        state = changed


@pytest.mark.parametrize(
    ("count", "following"), [(0xFFFF_FFFF, 1), (0, 1), (0xFFFF_FFFE, 0xFFFF_FFFF)]
)
def test_lock__the_count_starts_anew_behind_zero(count: int, following: int) -> None:
    changed = stateid(after_walk(*FILE, then=locku(words(count) + bytes(12))))
    assert changed[:4] == words(following)


def test_lock__another_server_says_the_same() -> None:
    steps = [*walk(*FILE), lock(READ, 0, 10)]
    record = call(100003, 4, 1, packed(steps, minor=2))
    replies = [accepted(loaded_programs(), record) for _ in range(2)]
    assert len({reply.take(4 + 8 + 4 + 44) for reply in replies}) == 1
    rest = 8 * (len(steps) - 2) + 8 + 16  # every LOOKUP's status, and LOCK's stateid
    assert len({reply.take(rest) for reply in replies}) == 1


@pytest.mark.parametrize("kind", [WRITE, WRITEW])
def test_lock__an_exclusive_one_would_need_an_open_for_writing(kind: int) -> None:
    assert after_walk(*FILE, then=lock(kind, 0, 10)).status == Status.OPENMODE
    assert after_walk(*FILE, then=lock_again(words(1) + bytes(12), kind)).status == Status.OPENMODE
    assert after_walk(*FILE, then=lockt(kind, 0, 10)).status == Status.ROFS


@pytest.mark.parametrize(
    ("offset", "length", "status"),
    [(0, 0, Status.INVAL), (1, TO_THE_END, Status.OK), (1, TO_THE_END - 1, Status.OK),
     (2, TO_THE_END - 1, Status.INVAL), (TO_THE_END, 1, Status.INVAL), (1 << 62, 7, Status.OK)],
)  # fmt: skip
def test_lock__ranges(offset: int, length: int, status: Status) -> None:
    for ask in (lock, lockt):
        assert after_walk(*FILE, then=ask(READ, offset, length)).status == status


@pytest.mark.parametrize(("place", "status"), [(b"bin", Status.ISDIR), (b"link", Status.SYMLINK)])
def test_lock__only_files(place: bytes, status: Status) -> None:
    for ask in (lock(READ, 0, 1), lock_again(bytes(16)), lockt(READ, 0, 1), locku(bytes(16))):
        assert after_walk(HELLO, place, then=ask).status == status


@pytest.mark.parametrize("kind", [0, 5])
def test_lock__unknown_types_are_no_locks(kind: int) -> None:
    assert after_walk(*FILE, then=lock(kind, 0, 1)).status == Status.BADXDR


def test_lockt__nothing_is_in_the_way_of_a_shared_one() -> None:
    reply = after_walk(*FILE, then=lockt(READ, 0, TO_THE_END))
    assert reply.results.uint32() == Status.OK
    reply.results.end()
