"""ONC RPC version 2: record marking, call headers, reply headers (RFC 5531)."""

from __future__ import annotations

import struct
from dataclasses import dataclass
from enum import IntEnum

from storeboot.nfs.xdr import Reader, Segment, Writer, XdrError

MAX_AUTH_BODY = 400  # RFC 5531 section 8.2
MAX_FRAGMENTS = 16
HEADER_SIZE = 24  # bytes of an accepted reply before its results
_record_mark = struct.Struct(">I").unpack_from
_START = struct.Struct(">3I")  # of a call: transaction id, CALL, RPC version
_CALL = struct.Struct(">4I")  # then: program, version, procedure, flavor of the credential
_ACCEPTED = struct.Struct(">6I")


class RpcError(ValueError):
    """The peer has sent something that cannot be answered; the connection ends."""


class AuthFlavor(IntEnum):
    NONE = 0
    SYS = 1
    GSS = 6


class AcceptStat(IntEnum):
    """RFC 5531 section 9, accept_stat."""

    SUCCESS = 0
    PROG_UNAVAIL = 1
    PROG_MISMATCH = 2
    PROC_UNAVAIL = 3
    GARBAGE_ARGS = 4
    SYSTEM_ERR = 5


AUTH_BADCRED = 1  # RFC 5531 section 9, auth_stat


@dataclass(frozen=True, slots=True)
class Call:
    """The header of one call; `arguments` continues after it."""

    xid: int
    program: int
    version: int
    procedure: int
    flavor: int
    uid: int  # as AUTH_SYS claims; 0 without it
    arguments: Reader


class RpcMismatchError(ValueError):
    """The call has an RPC version other than 2."""

    def __init__(self, xid: int) -> None:
        super().__init__("RPC version is not 2")
        self.xid = xid


def read_call(record: bytes) -> Call:
    """Return the header of a call.

    Raises RpcError if there is nothing to answer, and RpcMismatchError for another RPC version.
    """
    try:
        xid, kind, rpc = _START.unpack_from(record)
        if kind != 0:
            raise RpcError("not an RPC call")
        if rpc != 2:
            raise RpcMismatchError(xid)
        program, version, procedure, flavor = _CALL.unpack_from(record, _START.size)
        reader = Reader(record, _START.size + _CALL.size)
        credential = reader.opaque(MAX_AUTH_BODY)
        reader.uint32()
        reader.opaque(MAX_AUTH_BODY)
        uid = _uid(credential) if flavor == AuthFlavor.SYS else 0
    except (struct.error, XdrError) as error:
        raise RpcError(f"broken RPC header: {error}") from None
    return Call(xid, program, version, procedure, flavor, uid, reader)


def _uid(credential: bytes) -> int:
    """Return the user of an authsys_parms (RFC 5531 appendix A); nothing is decided by it."""
    size = int.from_bytes(credential[4:8])  # of the machine's name, which follows a stamp
    start = 8 + size + (-size & 3)
    if size > 255 or start + 4 > len(credential):
        raise XdrError("broken authsys_parms")
    return int.from_bytes(credential[start : start + 4])


def accepted(xid: int, stat: AcceptStat = AcceptStat.SUCCESS) -> Writer:
    """Return a reply that starts with an accepted header; the results follow it."""
    writer = Writer()
    writer.raw(_ACCEPTED.pack(xid, 1, 0, AuthFlavor.NONE, 0, stat))
    return writer


def version_mismatch(xid: int, low: int, high: int) -> Writer:
    """Return a reply which says that the program exists, but not in that version."""
    writer = accepted(xid, AcceptStat.PROG_MISMATCH)
    writer.uint32(low)
    writer.uint32(high)
    return writer


def denied_credential(xid: int) -> Writer:
    """Return a reply with MSG_DENIED, AUTH_ERROR, AUTH_BADCRED."""
    writer = Writer()
    for value in (xid, 1, 1, 1, AUTH_BADCRED):
        writer.uint32(value)
    return writer


def denied_rpc_version(xid: int) -> Writer:
    """Return a reply with MSG_DENIED, RPC_MISMATCH: only version 2 is supported."""
    writer = Writer()
    for value in (xid, 1, 1, 0, 2, 2):
        writer.uint32(value)
    return writer


def framed(segments: list[Segment]) -> list[Segment]:
    """Return a reply as one record of one fragment (RFC 5531 section 11)."""
    size = sum(len(part) if isinstance(part, bytes) else part.count for part in segments)
    mark = (0x8000_0000 | size).to_bytes(4, "big")
    first = segments[0]
    if isinstance(first, bytes):
        return [mark + first, *segments[1:]]
    return [mark, *segments]


class RecordReader:
    """Cuts a TCP stream into records. Holds at most one record of `limit` bytes."""

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._buffer = b""
        self._fragments: list[bytes] = []  # of a record that arrives in several

    def feed(self, data: bytes) -> list[bytes]:
        """Return the records that `data` completes; raise RpcError if one is over the limit."""
        if self._buffer:
            data = self._buffer + data
        records, start, end = [], 0, len(data)
        while end - start >= 4:
            (mark,) = _record_mark(data, start)
            stop = start + 4 + (mark & 0x7FFF_FFFF)
            if stop - start - 4 > self._limit or self._fragments:
                self._check(stop - start - 4)
            if stop > end:
                break
            fragment = data[start + 4 : stop]
            start = stop
            if self._fragments or mark < 0x8000_0000:
                self._fragments.append(fragment)
                if mark < 0x8000_0000:
                    continue
                fragment = b"".join(self._fragments)
                self._fragments.clear()
            records.append(fragment)
        self._buffer = data[start:] if start < end else b""
        return records

    @property
    def partial(self) -> bool:
        """Return whether part of a record has arrived."""
        return bool(self._buffer or self._fragments)

    def _check(self, size: int) -> None:
        total = sum(map(len, self._fragments)) + size
        if total > self._limit:
            raise RpcError(f"record of {total} bytes is over the limit of {self._limit}")
        if len(self._fragments) >= MAX_FRAGMENTS:
            raise RpcError(f"record of more than {MAX_FRAGMENTS} fragments")
