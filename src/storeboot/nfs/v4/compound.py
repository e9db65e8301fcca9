"""COMPOUND: the one procedure of NFSv4 (RFC 8881 section 16.2)."""

from __future__ import annotations

from dataclasses import dataclass

from storeboot.nfs.rpc import HEADER_SIZE, Call
from storeboot.nfs.status import NfsError, Status
from storeboot.nfs.v4 import operations
from storeboot.nfs.v4.clients import MAX_OPERATIONS, Clients, Peer
from storeboot.nfs.v4.constants import MAX_TAG, Op
from storeboot.nfs.v4.operations import MINOR_VERSIONS, Operation
from storeboot.nfs.v4.state import Compound
from storeboot.nfs.walk import Walk
from storeboot.nfs.xdr import Reader, Writer, XdrError


@dataclass(frozen=True, slots=True)
class Outcome:
    """The result of a compound, for the cache of replies."""

    pure: bool  # the same call has the same reply, whoever sends it
    in_session: bool  # it started with SEQUENCE, in a session like every Linux client's
    replay: bytes | None = None  # the earlier reply after its xid; the writer then has none


def compound(
    walk: Walk, clients: Clients, call: Call, results: Writer, peer: Peer, size: int
) -> Outcome:
    """Run operations until one is not OK; its status is the compound's.

    `size` is that of the whole call, in bytes.
    """
    arguments = call.arguments
    tag = arguments.opaque(MAX_TAG)
    minor, count = arguments.uint32(), arguments.uint32()
    body, status = Writer(), Status.OK
    state = Compound(walk, clients, peer, (call.flavor, call.uid), minor, count, size)
    if minor not in MINOR_VERSIONS:
        status, count = Status.MINOR_VERS_MISMATCH, 0
    elif count > MAX_OPERATIONS:
        status, count = _in_minor(Status.TOO_MANY_OPS, minor), 0
    overhead = HEADER_SIZE + 12 + len(tag)
    while state.position < count and status is Status.OK and state.replay is None:
        status = _run_one(state, arguments, body, overhead)
        state.position += 1
    results.uint32(status)
    results.opaque(tag)
    results.uint32(state.position)
    results.extend(body)
    if state.reclaimed is not None:
        state.reclaimed.reclaimed = True
    if state.session is not None and state.once and state.replay is None:
        clients.keep_reply(state.session, state.slot, state.sequence, results)
    pure = state.pure and state.replay is None
    in_session = state.session is not None and state.session.roomy
    return Outcome(pure, in_session, state.replay)


def _run_one(state: Compound, arguments: Reader, body: Writer, overhead: int) -> Status:
    """Run the next operation and write its result. Only here do errors become statuses."""
    op, operation = operations.find(arguments.uint32(), state.minor)
    result, status = Writer(), Status.OK
    try:
        _check_order(state, op, operation)
        if not operation.pure:
            state.run_once()
        operation.run(state, arguments, result)
        if operation.refusal is not None:
            status = operation.refusal
    except NfsError as error:
        status = error.status
    except XdrError:
        status = Status.BADXDR
    if status is not Status.OK:
        result = _failed(operation)
    if overhead + len(body) + 8 + len(result) > state.room:
        status, result, state.pure = state.too_big, _failed(operation), False
    status = _in_minor(status, state.minor)
    body.uint32(op)
    body.uint32(status)
    body.extend(result)
    return status


def _failed(operation: Operation) -> Writer:
    result = Writer()
    result.raw(operation.failed)
    return result


# The statuses of NFSv4.0 for errors that later versions added (RFC 7530 section 13.1).
_OLDER = {
    Status.TOO_MANY_OPS: Status.RESOURCE,
    Status.REP_TOO_BIG: Status.RESOURCE,
    Status.WRONG_TYPE: Status.INVAL,
}


def _in_minor(status: Status, minor: int) -> Status:
    return status if minor else _OLDER.get(status, status)


def _check_order(state: Compound, op: Op, operation: Operation) -> None:
    """Check that SEQUENCE comes first, or a single operation without it (section 2.10.2.1)."""
    if not state.minor:
        return  # NFSv4.0 has no sessions
    if op is Op.SEQUENCE:
        if state.position:
            raise NfsError(Status.SEQUENCE_POS)
    elif state.session is None and op is not Op.ILLEGAL:
        if not operation.sessionless:
            raise NfsError(Status.OP_NOT_IN_SESSION)
        if state.count > 1:
            raise NfsError(Status.NOT_ONLY_OP)
