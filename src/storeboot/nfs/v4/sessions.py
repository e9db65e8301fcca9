"""Clients and sessions (RFC 8881 sections 2.10 and 18.34-18.51), without a table of either.

Every operation can be run again with the same result, so a slot needs no reply cache: a request
that is sent again is simply answered again.
"""

from __future__ import annotations

from storeboot.nfs.limits import MAX_REPLY, MAX_REQUEST
from storeboot.nfs.status import NfsError, Status
from storeboot.nfs.v4.constants import MAX_OPAQUE, ExchangeFlag
from storeboot.nfs.v4.state import Compound
from storeboot.nfs.xdr import Reader, Writer, XdrError

MAX_SLOTS = 64
MAX_SESSION_OPERATIONS = 64
MAX_CACHED_REPLY = 4096
_SP4_NONE = 0
_SCOPE = b"storeboot"


def op_exchange_id(compound: Compound, arguments: Reader, results: Writer) -> None:
    """The owner and its verifier are the client: one that reboots is simply another one."""
    verifier = arguments.take(8)
    owner = arguments.opaque(MAX_OPAQUE)
    arguments.uint32()  # flags
    if arguments.uint32() != _SP4_NONE:
        raise NfsError(Status.NOTSUPP)
    if arguments.uint32() > 1:
        raise XdrError("more than one nfs_impl_id4")
    results.uint64(compound.identities.client_id(owner, verifier))
    results.uint32(1)  # sequence id of the CREATE_SESSION to come
    results.uint32(ExchangeFlag.USE_NON_PNFS)
    results.uint32(_SP4_NONE)
    results.uint64(0)  # so_minor_id
    results.opaque(compound.identities.server_owner)
    results.opaque(_SCOPE)
    results.uint32(0)  # no nfs_impl_id4


def op_create_session(compound: Compound, arguments: Reader, results: Writer) -> None:
    client = compound.identities.check_client(arguments.uint64())
    sequence = arguments.uint32()
    arguments.uint32()  # flags: neither a persistent reply cache nor a back channel is granted
    fore, back = _channel(arguments), _channel(arguments)
    results.raw(compound.identities.session_id(client))
    results.uint32(sequence)
    results.uint32(0)
    limits = (0, MAX_REQUEST, MAX_REPLY, MAX_CACHED_REPLY, MAX_SESSION_OPERATIONS, MAX_SLOTS)
    for asked, most in zip(fore, limits, strict=True):
        results.uint32(min(asked, most))
    results.uint32(0)
    for asked in back:
        results.uint32(asked)
    results.uint32(0)


def _channel(arguments: Reader) -> list[int]:
    """channel_attrs4 without its list of RDMA sizes."""
    values = [arguments.uint32() for _ in range(6)]
    for _ in range(_at_most_one(arguments.uint32())):
        arguments.uint32()
    return values


def _at_most_one(count: int) -> int:
    if count > 1:
        raise XdrError("more than one ca_rdma_ird")
    return count


def op_sequence(compound: Compound, arguments: Reader, results: Writer) -> None:
    session = arguments.take(16)
    sequence, slot = arguments.uint32(), arguments.uint32()
    arguments.uint32()  # highest slot that the client uses
    arguments.boolean()  # cachethis
    compound.identities.check_session(session)
    if slot >= MAX_SLOTS:
        raise NfsError(Status.BADSLOT)
    compound.in_session = True
    results.raw(session)
    for value in (sequence, slot, MAX_SLOTS - 1, MAX_SLOTS - 1, 0):
        results.uint32(value)


def op_bind_conn_to_session(compound: Compound, arguments: Reader, results: Writer) -> None:
    """Any connection may carry any session; the answer is always the fore channel."""
    session = arguments.take(16)
    arguments.uint32()
    arguments.boolean()
    compound.identities.check_session(session)
    results.raw(session)
    results.uint32(1)  # CDFS4_FORE
    results.boolean(False)


def op_destroy_session(compound: Compound, arguments: Reader, _results: Writer) -> None:
    compound.identities.check_session(arguments.take(16))


def op_destroy_clientid(compound: Compound, arguments: Reader, _results: Writer) -> None:
    compound.identities.check_client(arguments.uint64())


def op_reclaim_complete(_compound: Compound, arguments: Reader, _results: Writer) -> None:
    arguments.boolean()
