"""The client's half of NFS, as bytes: calls to send, and the results of replies (RFC 5531, 8881).

Whatever asks a server in tests and benchmarks is built of this. It does no I/O.
"""

from __future__ import annotations

from collections.abc import Sequence

from storeboot.nfs.v4.constants import Op
from storeboot.nfs.xdr import Reader, Writer

NFS, MOUNT, ACL = 100003, 100005, 100227  # programs
XID = 7  # of every call that is given no other


def words(*values: int) -> bytes:
    """Unsigned integers (RFC 4506 section 4.2)."""
    return b"".join(value.to_bytes(4, "big") for value in values)


def opaque(data: bytes) -> bytes:
    """Opaque data with its length (RFC 4506 section 4.10)."""
    writer = Writer()
    writer.opaque(data)
    return writer.getvalue()


def bitmap(bits: frozenset[int]) -> bytes:
    """The type bitmap4 (RFC 8881 section 3.3.7)."""
    writer = Writer()
    writer.bitmap(bits)
    return writer.getvalue()


AUTH_NONE = words(0, 0)


def auth_sys(machine: bytes) -> bytes:
    """A credential of root on a machine (RFC 5531 appendix A)."""
    return words(1) + opaque(words(0) + opaque(machine) + words(0, 0, 0))


def call(
    program: int,
    version: int,
    procedure: int,
    arguments: bytes = b"",
    *,
    xid: int = XID,
    credential: bytes = AUTH_NONE,
) -> bytes:
    """A call without its record mark (RFC 5531 section 9)."""
    head = words(xid, 0, 2, program, version, procedure)
    return head + credential + AUTH_NONE + arguments


def marked(record: bytes) -> bytes:
    """A record in one fragment, as it is sent over TCP (RFC 5531 section 11)."""
    return words(0x8000_0000 | len(record)) + record


def results(reply: bytes, xid: int = XID) -> Reader:
    """What is behind the header of a reply; AssertionError unless the call was accepted."""
    reader = Reader(reply)
    header = [reader.uint32() for _ in range(6)]
    assert header == [xid, 1, 0, 0, 0, 0], f"not accepted: {header}"
    return reader


def op(number: Op, arguments: bytes = b"") -> bytes:
    """One operation of a compound."""
    return words(number) + arguments


def compound_arguments(ops: Sequence[bytes], minor: int = 2, tag: bytes = b"") -> bytes:
    """The arguments of COMPOUND (RFC 8881 section 16.2)."""
    return opaque(tag) + words(minor, len(ops)) + b"".join(ops)
