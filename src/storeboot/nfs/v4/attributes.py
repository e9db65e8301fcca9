"""fattr4: one encoder per attribute (RFC 8881 section 5)."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache

from storeboot.nfs.index import Kind
from storeboot.nfs.limits import (
    MAX_FILE_SIZE,
    MAX_READ,
    MAX_WRITE,
    TIME_SECONDS,
)
from storeboot.nfs.v4.constants import Attr
from storeboot.nfs.walk import Entry, Walk
from storeboot.nfs.xdr import Writer

FSID_MAJOR = 0x73746F7265626F6F
_OPEN_ARGUMENTS_MINOR = 2  # OPEN_ARGUMENTS is an attribute of NFSv4.2 (RFC 9754)

# RFC 9754 section 3: what OPEN accepts, so that a client may ask for OPEN_XOR_DELEGATION.
_SHARE_ACCESS = frozenset({1})  # READ
_SHARE_DENY = frozenset({0})  # NONE
_WANT = frozenset({3, 4, 21})  # ANY_DELEG, NO_DELEG, OPEN_XOR_DELEGATION
_CLAIM = frozenset({0, 4})  # NULL, FH


@dataclass(frozen=True, slots=True)
class Subject:
    """The place whose attributes are encoded, and the minor version."""

    walk: Walk
    entry: Entry
    minor: int


Encoder = Callable[[Writer, Subject], None]


def supported(minor: int) -> frozenset[int]:
    if minor == 0:
        return _OLDEST
    if minor < _OPEN_ARGUMENTS_MINOR:
        return _ALL - {Attr.OPEN_ARGUMENTS}
    return _ALL


def encode(results: Writer, subject: Subject, wanted: frozenset[int]) -> None:
    """Write a fattr4 with the wanted attributes that are supported."""
    present, encoders = _plan(wanted, subject.minor)
    values = Writer()
    for encoder in encoders:
        encoder(values, subject)
    results.raw(present)
    results.opaque(values.getvalue())


@lru_cache(maxsize=64)  # clients ask for few different sets, again and again
def _plan(wanted: frozenset[int], minor: int) -> tuple[bytes, tuple[Encoder, ...]]:
    """Return the bitmap of the supported attributes, and their encoders in order."""
    present, head = wanted & supported(minor), Writer()
    head.bitmap(present)
    return head.getvalue(), tuple(ENCODERS[Attr(number)] for number in sorted(present))


def _uint32(value: int) -> Encoder:
    return lambda results, _subject: results.uint32(value)


def _uint64(value: int) -> Encoder:
    return lambda results, _subject: results.uint64(value)


def _boolean(value: bool) -> Encoder:
    return lambda results, _subject: results.boolean(value)


def _text(value: bytes) -> Encoder:
    return lambda results, _subject: results.opaque(value)


def _supported_attrs(results: Writer, subject: Subject) -> None:
    results.bitmap(supported(subject.minor))


def _type(results: Writer, subject: Subject) -> None:
    results.uint32(subject.entry.node.kind)


def _size(results: Writer, subject: Subject) -> None:
    results.uint64(subject.entry.node.size)


def _fsid(results: Writer, _subject: Subject) -> None:
    results.uint64(FSID_MAJOR)
    results.uint64(0)


def _filehandle(results: Writer, subject: Subject) -> None:
    results.opaque(subject.walk.raw(subject.entry))


def _fileid(results: Writer, subject: Subject) -> None:
    results.uint64(subject.entry.node.fileid)


def _mode(results: Writer, subject: Subject) -> None:
    results.uint32(subject.entry.node.mode)


def _lease_time(results: Writer, subject: Subject) -> None:
    results.uint32(subject.walk.lease)


def _rawdev(results: Writer, _subject: Subject) -> None:
    results.uint64(0)


def _space_used(results: Writer, subject: Subject) -> None:
    node = subject.entry.node
    results.uint64(node.size + 511 & ~511 if node.kind is Kind.REGULAR else node.size)


def _time(results: Writer, _subject: Subject) -> None:
    results.int64(TIME_SECONDS)
    results.uint32(0)


def _time_delta(results: Writer, _subject: Subject) -> None:
    results.int64(0)
    results.uint32(1)


def _open_arguments(results: Writer, _subject: Subject) -> None:
    for bits in (_SHARE_ACCESS, _SHARE_DENY, _WANT, _CLAIM, frozenset[int]()):
        results.bitmap(bits)


ENCODERS: dict[Attr, Encoder] = {
    Attr.SUPPORTED_ATTRS: _supported_attrs,
    Attr.TYPE: _type,
    Attr.FH_EXPIRE_TYPE: _uint32(0),  # FH4_PERSISTENT
    Attr.CHANGE: _uint64(1),
    Attr.SIZE: _size,
    Attr.LINK_SUPPORT: _boolean(False),
    Attr.SYMLINK_SUPPORT: _boolean(True),
    Attr.NAMED_ATTR: _boolean(False),
    Attr.FSID: _fsid,
    Attr.UNIQUE_HANDLES: _boolean(True),
    Attr.LEASE_TIME: _lease_time,
    Attr.RDATTR_ERROR: _uint32(0),
    Attr.CANSETTIME: _boolean(False),
    Attr.CASE_INSENSITIVE: _boolean(False),
    Attr.CASE_PRESERVING: _boolean(True),
    Attr.CHOWN_RESTRICTED: _boolean(True),
    Attr.FILEHANDLE: _filehandle,
    Attr.FILEID: _fileid,
    Attr.FILES_AVAIL: _uint64(0),
    Attr.FILES_FREE: _uint64(0),
    Attr.FILES_TOTAL: _uint64(0),
    Attr.HOMOGENEOUS: _boolean(True),
    Attr.MAXFILESIZE: _uint64(MAX_FILE_SIZE),
    Attr.MAXLINK: _uint32(1),
    Attr.MAXNAME: _uint32(255),
    Attr.MAXREAD: _uint64(MAX_READ),
    Attr.MAXWRITE: _uint64(MAX_WRITE),
    Attr.MODE: _mode,
    Attr.NO_TRUNC: _boolean(True),
    Attr.NUMLINKS: _uint32(1),
    # Numbers, so that a client needs no id mapping (RFC 8881 section 5.9).
    Attr.OWNER: _text(b"0"),
    Attr.OWNER_GROUP: _text(b"0"),
    Attr.RAWDEV: _rawdev,
    Attr.SPACE_AVAIL: _uint64(0),
    Attr.SPACE_FREE: _uint64(0),
    Attr.SPACE_TOTAL: _uint64(0),
    Attr.SPACE_USED: _space_used,
    Attr.TIME_ACCESS: _time,
    Attr.TIME_DELTA: _time_delta,
    Attr.TIME_METADATA: _time,
    Attr.TIME_MODIFY: _time,
    Attr.MOUNTED_ON_FILEID: _fileid,
    Attr.SUPPATTR_EXCLCREAT: lambda results, _subject: results.bitmap(frozenset()),
    Attr.OPEN_ARGUMENTS: _open_arguments,
}
_ALL: frozenset[int] = frozenset(ENCODERS)
_OLDEST = frozenset(number for number in _ALL if number <= Attr.MOUNTED_ON_FILEID)  # RFC 7530
