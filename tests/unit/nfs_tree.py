"""A small store in memory, and a server of it."""

from __future__ import annotations

from nfs_codec import results
from storeboot.nfs.handle import HandleCodec, MountToken
from storeboot.nfs.index import Index, Kind, Node, fileid
from storeboot.nfs.program import Programs
from storeboot.nfs.v4.clients import Peer
from storeboot.nfs.views import View
from storeboot.nfs.xdr import FileSlice, Reader

KEY = bytes(range(32))
VIEW = bytes(range(16))
HELLO = b"0" * 32 + b"-hello"
OTHER = b"1" * 32 + b"-other"
BIG = b"3" * 32 + b"-one-large-file"
HIDDEN = b"2" * 32 + b"-not-in-the-view"
LONG = b"n" * 255
ODD = b"caf\xe9"  # not UTF-8


def _node(store_name: bytes, relative: bytes, kind: Kind, **fields: object) -> Node:
    return Node(kind, fileid(store_name, relative), **fields)  # type: ignore[arg-type]


def _hello() -> dict[bytes, Node]:
    files = {
        b"bin/hello": _node(HELLO, b"bin/hello", Kind.REGULAR, size=10, executable=True),
        b"empty": _node(HELLO, b"empty", Kind.REGULAR, size=0),
        b"link": _node(HELLO, b"link", Kind.SYMLINK, size=9, target=b"bin/hello"),
        b"up": _node(HELLO, b"up", Kind.SYMLINK, size=12, target=b"../../../etc"),
        LONG: _node(HELLO, LONG, Kind.REGULAR, size=1),
        ODD: _node(HELLO, ODD, Kind.REGULAR, size=1),
    }
    top = tuple(sorted([b"bin", *(name for name in files if b"/" not in name)]))
    files[b""] = _node(HELLO, b"", Kind.DIRECTORY, names=top)
    files[b"bin"] = _node(HELLO, b"bin", Kind.DIRECTORY, names=(b"hello",))
    return files


def loaded_programs() -> Programs:
    """A server with everything in its catalogue."""
    programs = Programs(KEY)
    top = Node(Kind.DIRECTORY, fileid(HELLO, b""))
    other = _node(OTHER, b"", Kind.REGULAR, size=3)
    big = _node(BIG, b"", Kind.REGULAR, size=8 << 20)
    programs.catalogue.add_view(View(VIEW, {HELLO: top, OTHER: other, BIG: big}))
    programs.catalogue.add_index(BIG, Index(BIG, {b"": big}))
    programs.catalogue.add_index(HELLO, Index(HELLO, _hello()))
    programs.catalogue.add_index(OTHER, Index(OTHER, {b"": other}))
    hidden = _node(HIDDEN, b"", Kind.REGULAR, size=3)
    programs.catalogue.add_index(HIDDEN, Index(HIDDEN, {b"": hidden}))
    return programs


def token() -> str:
    return HandleCodec(KEY).encode_token(MountToken(VIEW, bytes(8)))


def reply(programs: Programs, record: bytes, peer: Peer | None = None) -> Reader:
    """A reply behind its record mark; file data shows as `x`s."""
    return Reader(_answer(programs, record, peer))


def accepted(programs: Programs, record: bytes, peer: Peer | None = None) -> Reader:
    """The results of a call, behind the header of its reply."""
    return results(_answer(programs, record, peer))


def _answer(programs: Programs, record: bytes, peer: Peer | None) -> bytes:
    segments = programs.answer(record, peer or Peer())
    parts = [b"x" * part.count if isinstance(part, FileSlice) else part for part in segments]
    data = b"".join(parts)
    assert int.from_bytes(data[:4], "big") == 0x8000_0000 | len(data) - 4
    return data[4:]
