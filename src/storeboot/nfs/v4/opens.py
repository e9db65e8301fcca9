"""OPEN, CLOSE and delegations: always granted, and never remembered.

A read delegation promises that no one else will change the file. Store paths never change, so the
promise costs nothing, is never recalled, and saves clients most of their re-opens (RFC 8881 section
10.4; OPEN_XOR_DELEGATION, RFC 9754, saves the CLOSE as well).
"""

from __future__ import annotations

from storeboot.nfs.status import NfsError, Status
from storeboot.nfs.v4.constants import MAX_OPAQUE, Claim, Delegation, OpenResult, ShareAccess
from storeboot.nfs.v4.files import lookup, require_regular
from storeboot.nfs.v4.state import Compound
from storeboot.nfs.walk import Entry
from storeboot.nfs.xdr import Reader, Writer, XdrError

_OPEN4_NOCREATE = 0
_ANONYMOUS_STATEID = bytes(16)
_WND4_NOT_WANTED = 0


def op_open(compound: Compound, arguments: Reader, results: Writer) -> None:
    arguments.uint32()  # seqid: not used in minor versions above 0
    access = ShareAccess(arguments.uint32())
    arguments.uint32()  # share_deny
    arguments.uint64()
    arguments.opaque(MAX_OPAQUE)  # open_owner4
    if arguments.uint32() != _OPEN4_NOCREATE:
        raise NfsError(Status.ROFS)
    entry = _claimed(compound, arguments)
    if access & ShareAccess.WRITE:
        raise NfsError(Status.ROFS)
    if not access & ShareAccess.READ:
        raise NfsError(Status.INVAL)
    require_regular(entry)
    compound.current_or_none = entry
    _grant(compound, results, entry, access)


def _claimed(compound: Compound, arguments: Reader) -> Entry:
    """Return the file of a claim. Whether an earlier server granted it makes no difference here."""
    number = arguments.uint32()
    try:
        claim = Claim(number)
    except ValueError:
        raise XdrError(f"{number} is not an open_claim_type4") from None
    if not compound.minor and claim > Claim.DELEGATE_PREV:
        raise XdrError(f"{number} is not an open_claim_type4 of NFSv4.0")
    match claim:
        case Claim.FH | Claim.DELEG_PREV_FH:
            return compound.current
        case Claim.DELEG_CUR_FH:
            arguments.take(16)
            return compound.current
        case Claim.PREVIOUS:
            arguments.uint32()
            return compound.current
        case Claim.DELEGATE_CUR:
            arguments.take(16)
        case Claim.NULL | Claim.DELEGATE_PREV:
            pass
    return lookup(compound, compound.current_directory, arguments.opaque(MAX_OPAQUE))


def _grant(compound: Compound, results: Writer, entry: Entry, access: ShareAccess) -> None:
    handle = compound.walk.raw(entry)
    # Without sessions, a delegation would need a way to call the client back.
    delegated = compound.minor > 0 and (access & ShareAccess.WANT_MASK != ShareAccess.WANT_NO_DELEG)
    flags = OpenResult.LOCKTYPE_POSIX
    stateid = compound.clients.identities.stateid(b"o", handle)
    if delegated and access & ShareAccess.WANT_OPEN_XOR_DELEGATION and compound.minor > 1:
        flags |= OpenResult.NO_OPEN_STATEID
        stateid = _ANONYMOUS_STATEID
    results.raw(stateid)
    results.boolean(True)  # change_info4: atomic, and nothing has changed
    results.uint64(1)
    results.uint64(1)
    results.uint32(flags)
    results.bitmap(frozenset())
    if delegated:
        results.uint32(Delegation.READ)
        results.raw(compound.clients.identities.stateid(b"d", handle))
        results.boolean(False)  # not being recalled
        for _ in range(3):  # an nfsace4 that grants nothing by itself: the client asks with ACCESS
            results.uint32(0)
        results.opaque(b"")
    elif not compound.minor:
        results.uint32(Delegation.NONE)
    else:
        results.uint32(Delegation.NONE_EXT)
        results.uint32(_WND4_NOT_WANTED)


def op_close(compound: Compound, arguments: Reader, results: Writer) -> None:
    arguments.uint32()
    arguments.take(16)
    _ = compound.current
    results.raw(b"\xff\xff\xff\xff" + bytes(12))  # the special invalid stateid, section 8.2.3


def op_open_downgrade(compound: Compound, arguments: Reader, results: Writer) -> None:
    stateid = arguments.take(16)
    arguments.take(12)
    _ = compound.current
    results.raw(stateid)


def op_delegreturn(compound: Compound, arguments: Reader, _results: Writer) -> None:
    arguments.take(16)
    _ = compound.current


def op_free_stateid(_compound: Compound, arguments: Reader, _results: Writer) -> None:
    arguments.take(16)


def op_test_stateid(_compound: Compound, arguments: Reader, results: Writer) -> None:
    count = arguments.uint32()
    arguments.take(16 * count)
    results.uint32(count)
    for _ in range(count):
        results.uint32(Status.OK)


def op_get_dir_delegation(_compound: Compound, arguments: Reader, results: Writer) -> None:
    """Answer GDD4_UNAVAIL, without a later signal (section 18.39)."""
    arguments.boolean()
    arguments.bitmap()
    arguments.take(12 * 2)
    arguments.bitmap()
    arguments.bitmap()
    results.uint32(1)
    results.boolean(False)
