"""Byte-range locks: shared ones are always granted, and never remembered.

No client can open a file for writing, so none can hold an exclusive lock (RFC 8881 section 15.1.8,
OPENMODE), and shared locks never conflict. Programs still ask for them: SQLite before it reads, and
anything that calls flock(2). A client with a delegation keeps its locks to itself (section 10.4.2).
A client of NFSv4.0 has no delegation, and without LOCK its fcntl(2) would fail.
"""

from __future__ import annotations

from storeboot.nfs.status import NfsError, Status
from storeboot.nfs.v4.constants import MAX_OPAQUE, LockType
from storeboot.nfs.v4.files import require_regular
from storeboot.nfs.v4.state import Compound
from storeboot.nfs.xdr import Reader, Writer, XdrError

_UINT64_MAX = (1 << 64) - 1
_SEQID = 4  # bytes of a stateid4 that count the changes to its state


def op_lock(compound: Compound, arguments: Reader, results: Writer) -> None:
    """Grant a shared lock (section 18.10). As with READ, any open stateid is valid."""
    exclusive = _exclusive(arguments)
    arguments.boolean()  # reclaim: what an earlier server granted is granted again
    _check_range(arguments)
    if arguments.boolean():  # new_lock_owner
        arguments.take(4 + 16 + 4)  # open_seqid, open_stateid, lock_seqid
        stateid = _first_stateid(compound, _owner(arguments))
    else:
        stateid = _next_stateid(arguments.take(16))
        arguments.uint32()  # lock_seqid
    require_regular(compound.current)
    if exclusive:
        raise NfsError(Status.OPENMODE)
    results.raw(stateid)


def op_lockt(compound: Compound, arguments: Reader, _results: Writer) -> None:
    """Say whether a lock would be granted (section 18.11)."""
    exclusive = _exclusive(arguments)
    _check_range(arguments)
    _owner(arguments)
    require_regular(compound.current)
    if exclusive:
        raise NfsError(Status.ROFS)


def op_locku(compound: Compound, arguments: Reader, results: Writer) -> None:
    """Release a lock (section 18.12)."""
    _exclusive(arguments)
    arguments.uint32()  # seqid
    stateid = arguments.take(16)
    _check_range(arguments)
    require_regular(compound.current)
    results.raw(_next_stateid(stateid))


def _exclusive(arguments: Reader) -> bool:
    """Read a nfs_lock_type4; return whether it is one of the two exclusive types."""
    number = arguments.uint32()
    try:
        return LockType(number) in (LockType.WRITE, LockType.WRITEW)
    except ValueError:
        raise XdrError(f"{number} is not an nfs_lock_type4") from None


def _check_range(arguments: Reader) -> None:
    """Read offset and length and check them; a length of all ones means "to the end of the
    file"."""
    offset, length = arguments.uint64(), arguments.uint64()
    if not length or (length != _UINT64_MAX and offset + length > _UINT64_MAX):
        raise NfsError(Status.INVAL)


def _owner(arguments: Reader) -> bytes:
    """Read a lock_owner4; return the owner's name within its client."""
    arguments.take(8)  # clientid; NFSv4.1 uses the session's
    return arguments.opaque(MAX_OPAQUE)


def _first_stateid(compound: Compound, owner: bytes) -> bytes:
    handle = compound.walk.raw(compound.current)
    return compound.clients.identities.stateid(b"l", handle + owner)


def _next_stateid(stateid: bytes) -> bytes:
    """Return the stateid after one more change; seqid zero would mean "the latest" (8.2.2).

    Linux would ask again forever if a change did not count.
    """
    count = int.from_bytes(stateid[:_SEQID]) % 0xFFFF_FFFF + 1
    return count.to_bytes(_SEQID, "big") + stateid[_SEQID:]
