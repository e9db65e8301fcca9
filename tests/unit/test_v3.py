from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nfs_codec import ACL, MOUNT, NFS, call, opaque, words
from storeboot.nfs.memo import Memo
from storeboot.nfs.program import Programs
from storeboot.nfs.refusal import Refusal
from storeboot.nfs.rpc import RpcError
from storeboot.nfs.status import Status
from storeboot.nfs.v3 import procedures
from storeboot.nfs.v4.clients import Peer
from storeboot.nfs.views import Lack, NotLoadedError
from storeboot.nfs.walk import Walk
from storeboot.nfs.xdr import Reader, Writer
from unit.nfs_tree import (
    HELLO,
    HIDDEN,
    KEY,
    LONG,
    ODD,
    VIEW,
    accepted,
    loaded_programs,
    reply,
    token,
)

FATTR3 = 84
PROGRAMS = loaded_programs()


def nfs(procedure: int, arguments: bytes) -> Reader:
    return accepted(PROGRAMS, call(NFS, 3, procedure, arguments))


def root() -> bytes:
    reader = accepted(PROGRAMS, call(MOUNT, 3, 1, opaque(b"/view/" + token().encode())))
    assert reader.uint32() == Status.OK
    return reader.opaque(64)


def walk(*names: bytes) -> bytes:
    handle = root()
    for name in names:
        reader = nfs(3, opaque(handle) + opaque(name))
        assert reader.uint32() == Status.OK
        handle = reader.opaque(64)
    return handle


def lookup_status(handle: bytes, name: bytes) -> int:
    return nfs(3, opaque(handle) + opaque(name)).uint32()


def test_mnt__a_token_opens_its_view_with_auth_sys() -> None:
    reader = accepted(PROGRAMS, call(MOUNT, 3, 1, opaque(b"/view/" + token().encode())))
    assert reader.uint32() == Status.OK
    reader.opaque(64)
    assert [reader.uint32() for _ in range(3)] == [2, 1, 0]
    reader.end()


@pytest.mark.parametrize("path", [b"/", b"/view", b"/view/", b"/nix/store", b"/view/" + b"0" * 64])
def test_mnt__nothing_else_opens_anything(path: bytes) -> None:
    reader = accepted(PROGRAMS, call(MOUNT, 3, 1, opaque(path)))
    assert reader.uint32() == Status.ACCESS


def test_getattr__owner_is_root_and_time_is_the_stores() -> None:
    reader = nfs(1, opaque(walk(HELLO, b"bin", b"hello")))
    assert reader.uint32() == Status.OK
    kind, mode, links, uid, gid = (reader.uint32() for _ in range(5))
    assert (kind, mode, links, uid, gid) == (1, 0o555, 1, 0, 0)
    assert reader.uint64() == 10
    reader.take(8 + 8 + 8)
    assert 0 < reader.uint64() < 2**48
    assert [reader.uint32() for _ in range(6)] == [1, 0, 1, 0, 1, 0]
    reader.end()


def test_lookup__names_of_the_limit_and_not_utf8_are_found() -> None:
    assert lookup_status(walk(HELLO), LONG) == Status.OK
    assert lookup_status(walk(HELLO), ODD) == Status.OK


@pytest.mark.parametrize(
    ("name", "status"),
    [(b"no", Status.NOENT), (b"", Status.NOENT), (b"bin/hello", Status.NOENT),
     (b"x" * 256, Status.NAMETOOLONG)],
)  # fmt: skip
def test_lookup__bad_names(name: bytes, status: Status) -> None:
    assert lookup_status(walk(HELLO), name) == status


@pytest.mark.parametrize("name", [HIDDEN, b".links", b"..foo", b"../etc"])
def test_lookup__nothing_beside_the_view_exists(name: bytes) -> None:
    assert lookup_status(root(), name) == Status.NOENT


def test_lookup__dot_dot_stops_at_the_views_root() -> None:
    handle = walk(HELLO)
    for _ in range(3):
        reader = nfs(3, opaque(handle) + opaque(b".."))
        assert reader.uint32() == Status.OK
        handle = reader.opaque(64)
    assert handle == root()


def test_lookup__in_a_file_is_notdir() -> None:
    assert lookup_status(walk(HELLO, b"empty"), b"x") == Status.NOTDIR


def test_access__grants_reading_but_never_changing() -> None:
    for names, granted in (((HELLO,), 0x23), ((HELLO, b"empty"), 0x01),
                           ((HELLO, b"bin", b"hello"), 0x21)):  # fmt: skip
        reader = nfs(4, opaque(walk(*names)) + b"\0\0\0\x3f")
        assert reader.uint32() == Status.OK
        reader.take(4 + FATTR3)
        assert reader.uint32() == granted


def test_readlink__gives_the_target_as_it_is() -> None:
    reader = nfs(5, opaque(walk(HELLO, b"up")))
    assert reader.uint32() == Status.OK
    reader.take(4 + FATTR3)
    assert reader.opaque(100) == b"../../../etc"
    reader.end()


@pytest.mark.parametrize(
    ("offset", "wanted", "count", "eof"),
    [(0, 4, 4, 0), (0, 10, 10, 1), (6, 100, 4, 1), (10, 5, 0, 1), (2**63, 5, 0, 1)],
)
def test_read__counts_and_end_of_file(offset: int, wanted: int, count: int, eof: int) -> None:
    arguments = Writer()
    arguments.opaque(walk(HELLO, b"bin", b"hello"))
    arguments.uint64(offset)
    arguments.uint32(wanted)
    reader = nfs(6, arguments.getvalue())
    assert reader.uint32() == Status.OK
    reader.take(4 + FATTR3)
    assert (reader.uint32(), reader.uint32()) == (count, eof)
    assert reader.opaque(100) == b"x" * count
    reader.end()


def list_names(room: int, *, plus: bool) -> list[bytes]:
    """Every name of HELLO, in as many calls as `room` makes it take."""
    names, cookie, handle = [], 0, walk(HELLO)
    while True:
        arguments = Writer()
        arguments.opaque(handle)
        arguments.uint64(cookie)
        arguments.raw(bytes(8))
        if plus:
            arguments.uint32(room)
        arguments.uint32(room)
        reader = nfs(17 if plus else 16, arguments.getvalue())
        assert reader.uint32() == Status.OK
        reader.take(4 + FATTR3 + 8)
        while reader.boolean():
            reader.uint64()
            names.append(reader.opaque(255))
            cookie = reader.uint64()
            if plus:
                reader.take(4 + FATTR3 + 4)
                reader.opaque(64)
        if reader.boolean():
            reader.end()
            return names


@pytest.mark.parametrize("plus", [False, True])
@pytest.mark.parametrize("room", [700, 1200, 65536])
def test_readdir__pages_of_any_size_give_each_name_once(room: int, plus: bool) -> None:
    names = list_names(room, plus=plus)
    assert names == [b".", b"..", *sorted([b"bin", b"empty", b"link", b"up", LONG, ODD])]


@pytest.mark.parametrize("names", [(), (b".flat",), (HELLO,), (HELLO, b"bin")])
def test_a_directorys_children_are_what_its_names_lead_to(names: tuple[bytes, ...]) -> None:
    ask = Walk(PROGRAMS.catalogue)
    directory = ask.resolve(walk(*names))
    found = [ask.lookup(directory, name) for name in ask.names(directory)]
    assert len(found) == {(): 3, (HELLO,): 6, (HELLO, b"bin"): 1}.get(names, 0)
    for start in range(len(found) + 1):
        assert list(ask.children(directory, start)) == found[start:]


def test_readdir__too_small_a_page_is_said() -> None:
    arguments = opaque(walk(HELLO)) + bytes(16) + b"\0\0\0\x10"
    assert nfs(16, arguments).uint32() == Status.TOOSMALL


def test_readdir__of_the_root_shows_the_views_paths_only() -> None:
    arguments = opaque(root()) + bytes(16) + b"\0\1\0\0"
    reader = nfs(16, arguments)
    assert reader.uint32() == Status.OK
    assert HIDDEN not in reader.take(len(HIDDEN) * 3)


@pytest.mark.parametrize("procedure", [2, 7, 8, 9, 10, 11, 12, 13, 14, 15, 21])
def test_every_change_is_refused_as_read_only(procedure: int) -> None:
    assert nfs(procedure, opaque(walk(HELLO)) + bytes(64)).uint32() == Status.ROFS


def test_every_procedure_of_the_rfc_has_an_answer() -> None:
    assert set(procedures.PROCEDURES) == set(range(22))


def test_getacl__says_that_there_are_no_entries() -> None:
    """Not an error: overlayfs would hand it on to every user but root."""
    reader = accepted(PROGRAMS, call(ACL, 3, 1, opaque(walk(HELLO)) + b"\0\0\0\x0f"))
    assert reader.uint32() == Status.OK
    reader.take(4 + FATTR3)
    assert [reader.uint32() for _ in range(5)] == [15, 0, 0, 0, 0]
    reader.end()


def test_unknown_program_version_and_procedure() -> None:
    assert [reply(PROGRAMS, call(1, 1, 0, b"")).take(24)[-1]] == [1]
    assert [reply(PROGRAMS, call(NFS, 2, 0, b"")).take(24)[-1]] == [2]
    assert [reply(PROGRAMS, call(NFS, 3, 22, b"")).take(24)[-1]] == [3]


def test_other_credentials_than_sys_are_denied() -> None:
    reader = reply(PROGRAMS, call(NFS, 3, 0, b"", credential=words(6, 0)))
    assert [reader.uint32() for _ in range(5)] == [7, 1, 1, 1, 1]


def test_a_path_that_was_not_read_yet_is_asked_for_and_gone_is_stale() -> None:
    programs = loaded_programs()
    handle = walk(HELLO, b"bin")
    programs.catalogue.indexes = Memo(1000)
    record = call(NFS, 3, 1, opaque(handle))
    with pytest.raises(NotLoadedError) as caught:
        programs.answer(record, Peer())
    assert caught.value.store_name == HELLO
    without = programs.answer(record, Peer(), caught.value.lack())
    assert without[0][28:32] == Status.STALE.to_bytes(4)  # type: ignore[index]
    with pytest.raises(NotLoadedError):  # it may be there by now
        programs.answer(record, Peer())


@given(st.sampled_from([(NFS, 3), (MOUNT, 3), (ACL, 3), (NFS, 4)]), st.integers(0, 23), st.binary())
def test_any_arguments_get_an_answer(program: tuple[int, int], procedure: int, data: bytes) -> None:
    try:
        PROGRAMS.answer(call(*program, procedure, opaque(walk(HELLO)) + data), Peer())
        PROGRAMS.answer(call(*program, procedure, data), Peer())
    except RpcError:
        pytest.fail("a well-formed header must be answered")


@pytest.mark.parametrize(
    ("lack", "status"),
    [
        (Status.DELAY, Status.SERVERFAULT),
        (Status.IO, Status.IO),
        (Status.STALE, Status.NOENT),
    ],
)
def test_mnt__a_view_that_cannot_be_read_is_told_in_statuses_of_mount(
    lack: Status, status: Status
) -> None:
    refused: list[Refusal] = []
    peer = Peer(on_refusal=lambda _peer, refusal: refused.append(refusal))
    programs = Programs(KEY)
    record = call(MOUNT, 3, 1, opaque(b"/view/" + token().encode()))
    reply = programs.answer(record, peer, Lack(lack, view=VIEW))[0]
    assert isinstance(reply, bytes)
    assert reply[28:32] == words(status)
    assert len(refused) == 1


def test_mnt__a_place_in_a_view_that_does_not_exist_is_noent() -> None:
    for path, status in ((b"none", Status.NOENT), (HELLO + b"/empty/x", Status.NOTDIR)):
        place = b"/view/" + token().encode() + b"/" + path
        reader = accepted(PROGRAMS, call(MOUNT, 3, 1, opaque(place)))
        assert reader.uint32() == status
