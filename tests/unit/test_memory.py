"""Replies that are made once, names that are packed: the same answers, and bounded memory."""

from __future__ import annotations

import gc
import sys
import tracemalloc
from dataclasses import dataclass, replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nfs_codec import NFS, call, op, words
from storeboot.config import NfsSection
from storeboot.nfs import limits
from storeboot.nfs.handle import object_id, path_id
from storeboot.nfs.index import Index, Kind, Node, fileid
from storeboot.nfs.memo import Memo
from storeboot.nfs.program import Programs
from storeboot.nfs.status import Status
from storeboot.nfs.v4.clients import Peer
from storeboot.nfs.v4.constants import Op
from storeboot.nfs.views import View
from storeboot.nfs.xdr import FileSlice
from storeboot.process import run
from unit.nfs_tree import BIG, HELLO, KEY, loaded_programs
from unit.test_sessions import Machine
from unit.test_v3 import walk
from unit.test_v4 import packed
from unit.test_v4 import walk as walk_v4

_DIGITS = "0123456789abcdfghijklmnpqrsvwxyz"
_TWO_DIGITS = [first + second for first in _DIGITS for second in _DIGITS][1:-1]


@dataclass(frozen=True)
class Sized:
    cost: int


@given(st.lists(st.tuples(st.binary(max_size=3), st.integers(0, 500)), max_size=200))
def test_memo_never_holds_more_than_its_limit_and_one_value(puts: list[tuple[bytes, int]]) -> None:
    memo: Memo[Sized] = Memo(5000)
    for key, cost in puts:
        value = Sized(cost)
        memo.put(key, value)
        assert memo.get(key) is value
        held = [each.cost for part in (memo._young, memo._old) for each in part.values()]
        assert sum(held) <= 5000 + cost


def test_memo_keeps_what_is_used() -> None:
    memo: Memo[Sized] = Memo(20_000)
    memo.put(b"used", Sized(1))
    for number in range(1000):
        memo.put(b"%d" % number, Sized(100))
        assert memo.get(b"used") is not None
    assert memo.get(b"0") is None


NAMES = st.binary(min_size=1, max_size=20).filter(
    lambda name: b"/" not in name and b"\0" not in name and name not in (b".", b"..")
)


@given(st.dictionaries(NAMES, st.one_of(st.integers(0, 1 << 50), st.binary(max_size=50))))
def test_index_gives_back_what_went_in(entries: dict[bytes, int | bytes]) -> None:
    nodes = {b"": Node(Kind.DIRECTORY, fileid(HELLO, b""), names=tuple(sorted(entries)))}
    for name, what in entries.items():
        number = fileid(HELLO, name)
        nodes[name] = (
            Node(Kind.REGULAR, number, size=what, executable=what % 2 == 1)
            if isinstance(what, int)
            else Node(Kind.SYMLINK, number, size=len(what), target=what)
        )
    index = Index(HELLO, nodes)
    assert index.names(b"") == tuple(sorted(entries))
    assert {name: index.get(name) for name in entries} == {name: nodes[name] for name in entries}
    assert index.get(b"no such/name") is None


def test_index_gives_back_whole_trees() -> None:
    """Every directory's entries, and every path by its id."""
    nodes: dict[bytes, Node] = {}
    _grow(nodes, b"", depth=3)
    index = Index(HELLO, nodes)
    for relative, node in nodes.items():
        assert index.find(path_id(relative)) == (relative, index.get(relative))
        assert index.names(relative) == node.names
        assert index.get(relative) == replace(node, names=())
    assert index.find(path_id(b"nothing")) is None


def _grow(nodes: dict[bytes, Node], at: bytes, depth: int) -> None:
    names = tuple(b"%c-%d" % (letter, depth) for letter in b"abcd") if depth else ()
    nodes[at] = Node(Kind.DIRECTORY, fileid(HELLO, at), names=names)
    for name in names:
        relative = at + b"/" + name if at else name
        if name.startswith(b"a"):
            nodes[relative] = Node(Kind.REGULAR, fileid(HELLO, relative), size=depth << 33)
        else:
            _grow(nodes, relative, depth - 1)


def test_paths_whose_ids_begin_alike_are_told_apart() -> None:
    """Of an id four bytes are kept; these two share them."""
    names = (b"file11588", b"file20717")
    ids = [path_id(name) for name in names]
    assert ids[0][:4] == ids[1][:4]
    nodes = {b"": Node(Kind.DIRECTORY, fileid(HELLO, b""), names=names)}
    nodes |= {name: Node(Kind.REGULAR, fileid(HELLO, name), size=len(nodes)) for name in names}
    index = Index(HELLO, nodes)
    assert [index.find(identity) for identity in ids] == [(name, nodes[name]) for name in names]
    assert [index.get(name) for name in names] == [nodes[name] for name in names]
    assert index.find(ids[0][:4] + bytes(10)) is None


def test_a_directory_lists_only_what_can_be_looked_up() -> None:
    nodes = {b"": Node(Kind.DIRECTORY, 1, names=(b"file", b"socket"))}
    nodes[b"file"] = Node(Kind.REGULAR, 1)
    assert Index(HELLO, nodes).names(b"") == (b"file",)


def test_index_is_packed() -> None:
    """A hundred thousand inodes are what one closure has, and half a million what a lab has."""
    count = 20_000
    nodes = {b"": Node(Kind.DIRECTORY, 1, names=tuple(sorted(b"file%d" % n for n in range(count))))}
    nodes |= {b"file%d" % n: Node(Kind.REGULAR, n, size=n) for n in range(count)}
    gc.collect()
    tracemalloc.start()
    try:
        index = Index(HELLO, nodes)
        gc.collect()
        held = tracemalloc.get_traced_memory()[0]
    finally:
        tracemalloc.stop()
    assert held < count * 35
    assert held == pytest.approx(index.cost, rel=0.2)


def read_call(handle: bytes) -> bytes:
    arguments = len(handle).to_bytes(4) + handle + bytes(8) + (1000).to_bytes(4)
    return call(NFS, 3, 6, arguments)


def test_a_kept_reply_is_the_one_that_was_made() -> None:
    programs, record = loaded_programs(), read_call(walk(BIG))
    made = programs.answer(record, Peer())
    other_caller = b"\xab\xcd\xef\x01" + record[4:]
    kept = programs.answer(other_caller, Peer("10.0.0.9"))
    assert len(programs._replies._memo) == 1
    assert isinstance(kept[1], FileSlice)
    assert kept[1:] == made[1:]
    first, again = kept[0], made[0]
    assert isinstance(first, bytes)
    assert isinstance(again, bytes)
    assert (first[:4], first[4:8], first[8:]) == (again[:4], other_caller[:4], again[8:])
    assert programs.calls[NFS, 3, 6] == 2


def test_a_kept_compound_reply_echoes_its_own_caller() -> None:
    programs = loaded_programs()
    machine = Machine(programs)
    session = machine.session()
    ask = walk_v4(HELLO)[1:]

    def answer(number: int, slot: int) -> bytes:
        ops = [op(Op.SEQUENCE, session + words(number, slot, 0, 0)), *ask]
        record = call(NFS, 4, 1, packed(ops, minor=2).replace(b"\0\0\0\3tag\0", bytes(4)))
        (reply,) = programs.answer(record, machine.peer)
        assert isinstance(reply, bytes)
        return reply

    first = answer(1, 0)
    kept = len(programs._replies._memo)
    assert kept
    second = answer(1, 5)
    assert len(programs._replies._memo) == kept
    assert second[48:64] == session
    assert second[64:72] == words(1, 5)
    assert first[72:] == second[72:]
    assert answer(2, 0)[64:72] == words(2, 0)
    assert programs.clients.sessions[session].slots[0] == 2


def test_replies_stay_under_their_cap() -> None:
    programs = Programs(KEY, reply_memory=50_000)
    source = loaded_programs()
    programs.catalogue.views, programs.catalogue.indexes = (
        source.catalogue.views, source.catalogue.indexes,
    )  # fmt: skip
    handle = walk(BIG)
    for offset in range(2000):
        arguments = len(handle).to_bytes(4) + handle + offset.to_bytes(8) + (10).to_bytes(4)
        programs.answer(call(NFS, 3, 6, arguments), Peer())
    memo = programs._replies._memo
    assert 0 < len(memo) < 100


@pytest.mark.parametrize(
    ("field", "constant"),
    [("lease", limits.LEASE_SECONDS), ("reply_memory", limits.REPLY_MEMORY >> 20)],
)
def test_defaults_of_the_configuration_are_those_of_the_core(field: str, constant: int) -> None:
    assert getattr(NfsSection(), field) == constant


def test_a_view_is_packed() -> None:
    """As many views as systems, with thousands of paths each."""
    names = {digits.encode() * 16 + b"-some-package-1.2.3": digits for digits in _TWO_DIGITS}
    tops = {name: Node(Kind.DIRECTORY, fileid(name, b"")) for name in names}
    view = View(bytes(16), tops)
    assert view.cost < 1000 + 120 * len(names)
    assert view.names == tuple(sorted(names))
    assert all(view.get(name) == tops[name] for name in names)
    assert all(view.by_object(object_id(name)) == name for name in names)
    assert view.get(b"0" * 32 + b"-nothing") is None
    assert view.by_object(bytes(20)) is None
    assert view.by_object(b"\xff" * 20) is None


def test_memo_counts_a_value_that_is_put_again_once() -> None:
    memo: Memo[Sized] = Memo(20_000)
    memo.put(b"other", Sized(100))
    for _ in range(1000):
        memo.put(b"same", Sized(100))
    assert memo.get(b"other") is not None


def test_a_reply_to_a_narrow_session_is_not_kept_for_wide_ones() -> None:
    """SEQUENCE says how many slots there are."""
    programs = loaded_programs()
    wide, narrow = Machine(programs, "10.0.0.1"), Machine(programs, "10.0.0.2")
    session = wide.session()
    client_id, sequence = narrow.exchange(b"narrow--")
    channel = words(0, 1049620, 1049480, 7584, 16, 1, 0)
    arguments = client_id + words(sequence, 0) + channel * 2 + words(0, 1, 0)
    status, reply = narrow.ask(op(Op.CREATE_SESSION, arguments))
    assert status == Status.OK
    thin = reply.take(16)

    def highest(machine: Machine, identity: bytes, number: int) -> int:
        ops = [op(Op.SEQUENCE, identity + words(number, 0, 0, 0)), *walk_v4(HELLO)[1:]]
        record = call(NFS, 4, 1, packed(ops, minor=2).replace(b"\0\0\0\3tag\0", bytes(4)))
        (answer,) = programs.answer(record, machine.peer)
        assert isinstance(answer, bytes)
        return int.from_bytes(answer[72:76])

    assert highest(wide, session, 1) == 63
    assert highest(narrow, thin, 1) == 0
    assert highest(wide, session, 2) == 63


def test_a_worker_imports_nothing_that_only_the_main_process_needs() -> None:
    """What it imports is in memory once for each worker."""
    program = (
        "import sys; from storeboot.serve.nfs import worker; "
        "print(*{name.partition('.')[0] for name in sys.modules})"
    )
    imported = set(run([sys.executable, "-c", program]).split())
    assert not imported & {"aiohttp", "alembic", "click", "pydantic", "sqlalchemy", "zstandard"}
