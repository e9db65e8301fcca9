"""COMPOUND: the one procedure of NFSv4 (RFC 8881 section 16.2)."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from storeboot.nfs.limits import MAX_CACHED_REPLY
from storeboot.nfs.rpc import HEADER_SIZE, Call
from storeboot.nfs.status import NfsError, Status
from storeboot.nfs.v4 import changes, files, minor0, opens, sessions
from storeboot.nfs.v4.clients import MAX_OPERATIONS, Clients, Peer
from storeboot.nfs.v4.constants import MAX_TAG, Op
from storeboot.nfs.v4.state import Compound
from storeboot.nfs.views import Catalogue
from storeboot.nfs.xdr import Reader, Writer, XdrError

MINOR_VERSIONS = (0, 1, 2)
Operation = Callable[[Compound, Reader, Writer], None]


@dataclass(frozen=True, slots=True)
class Server:
    """What every compound is answered from."""

    catalogue: Catalogue
    clients: Clients


def _refuse(status: Status) -> Operation:
    def refuse(_compound: Compound, _arguments: Reader, _results: Writer) -> None:
        raise NfsError(status)

    return refuse


NOTSUPP = _refuse(Status.NOTSUPP)

OPERATIONS: dict[Op, Operation] = {
    Op.ACCESS: files.op_access,
    Op.CLOSE: opens.op_close,
    Op.COMMIT: changes.op_change,
    Op.CREATE: changes.op_create,
    Op.DELEGPURGE: NOTSUPP,
    Op.DELEGRETURN: opens.op_delegreturn,
    Op.GETATTR: files.op_getattr,
    Op.GETFH: files.op_getfh,
    Op.LINK: changes.op_link,
    Op.LOCK: NOTSUPP,
    Op.LOCKT: NOTSUPP,
    Op.LOCKU: NOTSUPP,
    Op.LOOKUP: files.op_lookup,
    Op.LOOKUPP: files.op_lookupp,
    Op.NVERIFY: files.op_nverify,
    Op.OPEN: opens.op_open,
    Op.OPENATTR: NOTSUPP,
    Op.OPEN_CONFIRM: NOTSUPP,
    Op.OPEN_DOWNGRADE: opens.op_open_downgrade,
    Op.PUTFH: files.op_putfh,
    Op.PUTPUBFH: files.op_putrootfh,
    Op.PUTROOTFH: files.op_putrootfh,
    Op.READ: files.op_read,
    Op.READDIR: files.op_readdir,
    Op.READLINK: files.op_readlink,
    Op.REMOVE: changes.op_remove,
    Op.RENAME: changes.op_rename,
    Op.RENEW: NOTSUPP,
    Op.RESTOREFH: files.op_restorefh,
    Op.SAVEFH: files.op_savefh,
    Op.SECINFO: files.op_secinfo,
    Op.SETATTR: changes.op_change,
    Op.SETCLIENTID: NOTSUPP,
    Op.SETCLIENTID_CONFIRM: NOTSUPP,
    Op.VERIFY: files.op_verify,
    Op.WRITE: changes.op_change,
    Op.RELEASE_LOCKOWNER: NOTSUPP,
    Op.BACKCHANNEL_CTL: NOTSUPP,
    Op.BIND_CONN_TO_SESSION: sessions.op_bind_conn_to_session,
    Op.EXCHANGE_ID: sessions.op_exchange_id,
    Op.CREATE_SESSION: sessions.op_create_session,
    Op.DESTROY_SESSION: sessions.op_destroy_session,
    Op.FREE_STATEID: opens.op_free_stateid,
    Op.GET_DIR_DELEGATION: opens.op_get_dir_delegation,
    Op.GETDEVICEINFO: NOTSUPP,
    Op.GETDEVICELIST: NOTSUPP,
    Op.LAYOUTCOMMIT: NOTSUPP,
    Op.LAYOUTGET: NOTSUPP,
    Op.LAYOUTRETURN: NOTSUPP,
    Op.SECINFO_NO_NAME: files.op_secinfo_no_name,
    Op.SEQUENCE: sessions.op_sequence,
    Op.SET_SSV: NOTSUPP,
    Op.TEST_STATEID: opens.op_test_stateid,
    Op.WANT_DELEGATION: NOTSUPP,
    Op.DESTROY_CLIENTID: sessions.op_destroy_clientid,
    Op.RECLAIM_COMPLETE: sessions.op_reclaim_complete,
}
# Of NFSv4.0 these (RFC 7530); what came with 4.1 is unknown to it.
OPERATIONS_40 = {op: run for op, run in OPERATIONS.items() if op <= Op.RELEASE_LOCKOWNER} | {
    Op.OPEN_CONFIRM: minor0.op_open_confirm,
    Op.RENEW: minor0.op_renew,
    Op.SETCLIENTID: minor0.op_setclientid,
    Op.SETCLIENTID_CONFIRM: minor0.op_setclientid_confirm,
    Op.RELEASE_LOCKOWNER: minor0.op_release_lockowner,
}
# Linux falls back to READ for good when READ_PLUS is NOTSUPP; the others are for writers.
OPERATIONS_42 = {op: NOTSUPP for op in Op if Op.ALLOCATE <= op <= Op.REMOVEXATTR}

REFUSALS = frozenset(
    {NOTSUPP, changes.op_change, changes.op_create, changes.op_link, changes.op_remove,
     changes.op_rename}
)  # fmt: skip

# RFC 8881 section 2.10.2.1: these may come without SEQUENCE, and then alone.
_SESSIONLESS = frozenset(
    {
        Op.EXCHANGE_ID,
        Op.CREATE_SESSION,
        Op.DESTROY_SESSION,
        Op.BIND_CONN_TO_SESSION,
        Op.DESTROY_CLIENTID,
    }
)


# What they answer depends on more than the question.
_IMPURE = _SESSIONLESS | {Op.RECLAIM_COMPLETE}


@dataclass(frozen=True, slots=True)
class Outcome:
    """What a compound came to, for whoever keeps replies."""

    pure: bool  # the same question has the same answer, whoever asks
    in_session: bool  # it began with a SEQUENCE of a session like every Linux client's
    replay: bytes | None = None  # the answer given before, behind the xid; the writer has none


def compound(server: Server, call: Call, results: Writer, peer: Peer, size: int) -> Outcome:
    """Run operations until one is not OK; its status is the compound's."""
    arguments = call.arguments
    tag = arguments.opaque(MAX_TAG)
    minor, count = arguments.uint32(), arguments.uint32()
    body, status = Writer(), Status.OK
    state = Compound(
        server.catalogue, server.clients, peer, (call.flavor, call.uid), minor, count, size
    )
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
        server.clients.keep_reply(state.session, state.slot, state.sequence, results)
    pure = state.pure and state.replay is None
    in_session = state.session is not None and state.session.roomy
    return Outcome(pure, in_session, state.replay)


def _run_one(state: Compound, arguments: Reader, body: Writer, overhead: int) -> Status:
    op, operation = _operation(arguments.uint32(), state.minor)
    result, status = Writer(), Status.OK
    try:
        _check_order(state, op)
        if op in _IMPURE:
            state.pure, state.once = False, True
            state.room = min(state.room, MAX_CACHED_REPLY)  # since it is kept
        operation(state, arguments, result)
    except NfsError as error:
        status, result = error.status, Writer()
        if op is Op.SETATTR:
            result.bitmap(frozenset())  # SETATTR4res has its bitmap in any case
    except XdrError:
        status, result = Status.BADXDR, Writer()
    if overhead + len(body) + 8 + len(result) > state.room:
        status, result, state.pure = state.too_big, Writer(), False
    status = _in_minor(status, state.minor)
    body.uint32(op)
    body.uint32(status)
    body.extend(result)
    return status


# What NFSv4.0 says instead of errors that came later (RFC 7530 section 13.1).
_OLDER = {
    Status.TOO_MANY_OPS: Status.RESOURCE,
    Status.REP_TOO_BIG: Status.RESOURCE,
    Status.WRONG_TYPE: Status.INVAL,
}


def _in_minor(status: Status, minor: int) -> Status:
    return status if minor else _OLDER.get(status, status)


def _operation(number: int, minor: int) -> tuple[Op, Operation]:
    """Unknown numbers, and those of a later minor version, are OP_ILLEGAL (section 18.52)."""
    try:
        op = Op(number)
    except ValueError:
        return Op.ILLEGAL, _refuse(Status.OP_ILLEGAL)
    operation = (OPERATIONS if minor else OPERATIONS_40).get(op)
    if operation is None and minor == 2:
        operation = OPERATIONS_42.get(op)
    if operation is None:
        return Op.ILLEGAL, _refuse(Status.OP_ILLEGAL)
    return op, operation


def _check_order(state: Compound, op: Op) -> None:
    if not state.minor:
        return  # there are no sessions
    if op is Op.SEQUENCE:
        if state.position:
            raise NfsError(Status.SEQUENCE_POS)
    elif state.session is None and op is not Op.ILLEGAL:
        if op not in _SESSIONLESS:
            raise NfsError(Status.OP_NOT_IN_SESSION)
        if state.count > 1:
            raise NfsError(Status.NOT_ONLY_OP)
