"""COMPOUND: the one procedure of NFSv4 (RFC 8881 section 16.2)."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from storeboot.nfs.limits import MAX_REPLY
from storeboot.nfs.status import NfsError, Status
from storeboot.nfs.v4 import files, opens, sessions
from storeboot.nfs.v4.constants import MAX_TAG, Op
from storeboot.nfs.v4.identity import IdentityCodec
from storeboot.nfs.v4.state import Compound
from storeboot.nfs.views import Catalogue
from storeboot.nfs.xdr import Reader, Writer, XdrError

MINOR_VERSIONS = (1, 2)
MAX_OPERATIONS = 64

Operation = Callable[[Compound, Reader, Writer], None]


@dataclass(frozen=True, slots=True)
class Server:
    """What every compound is answered from."""

    catalogue: Catalogue
    identities: IdentityCodec


def _refuse(status: Status) -> Operation:
    def refuse(_compound: Compound, _arguments: Reader, _results: Writer) -> None:
        raise NfsError(status)

    return refuse


_ROFS = _refuse(Status.ROFS)
_NOTSUPP = _refuse(Status.NOTSUPP)

OPERATIONS: dict[Op, Operation] = {
    Op.ACCESS: files.op_access,
    Op.CLOSE: opens.op_close,
    Op.COMMIT: _ROFS,
    Op.CREATE: _ROFS,
    Op.DELEGPURGE: _NOTSUPP,
    Op.DELEGRETURN: opens.op_delegreturn,
    Op.GETATTR: files.op_getattr,
    Op.GETFH: files.op_getfh,
    Op.LINK: _ROFS,
    Op.LOCK: _NOTSUPP,
    Op.LOCKT: _NOTSUPP,
    Op.LOCKU: _NOTSUPP,
    Op.LOOKUP: files.op_lookup,
    Op.LOOKUPP: files.op_lookupp,
    Op.NVERIFY: files.op_nverify,
    Op.OPEN: opens.op_open,
    Op.OPENATTR: _NOTSUPP,
    Op.OPEN_CONFIRM: _NOTSUPP,
    Op.OPEN_DOWNGRADE: opens.op_open_downgrade,
    Op.PUTFH: files.op_putfh,
    Op.PUTPUBFH: files.op_putrootfh,
    Op.PUTROOTFH: files.op_putrootfh,
    Op.READ: files.op_read,
    Op.READDIR: files.op_readdir,
    Op.READLINK: files.op_readlink,
    Op.REMOVE: _ROFS,
    Op.RENAME: _ROFS,
    Op.RENEW: _NOTSUPP,
    Op.RESTOREFH: files.op_restorefh,
    Op.SAVEFH: files.op_savefh,
    Op.SECINFO: files.op_secinfo,
    Op.SETATTR: _ROFS,
    Op.SETCLIENTID: _NOTSUPP,
    Op.SETCLIENTID_CONFIRM: _NOTSUPP,
    Op.VERIFY: files.op_verify,
    Op.WRITE: _ROFS,
    Op.RELEASE_LOCKOWNER: _NOTSUPP,
    Op.BACKCHANNEL_CTL: _NOTSUPP,
    Op.BIND_CONN_TO_SESSION: sessions.op_bind_conn_to_session,
    Op.EXCHANGE_ID: sessions.op_exchange_id,
    Op.CREATE_SESSION: sessions.op_create_session,
    Op.DESTROY_SESSION: sessions.op_destroy_session,
    Op.FREE_STATEID: opens.op_free_stateid,
    Op.GET_DIR_DELEGATION: opens.op_get_dir_delegation,
    Op.GETDEVICEINFO: _NOTSUPP,
    Op.GETDEVICELIST: _NOTSUPP,
    Op.LAYOUTCOMMIT: _NOTSUPP,
    Op.LAYOUTGET: _NOTSUPP,
    Op.LAYOUTRETURN: _NOTSUPP,
    Op.SECINFO_NO_NAME: files.op_secinfo_no_name,
    Op.SEQUENCE: sessions.op_sequence,
    Op.SET_SSV: _NOTSUPP,
    Op.TEST_STATEID: opens.op_test_stateid,
    Op.WANT_DELEGATION: _NOTSUPP,
    Op.DESTROY_CLIENTID: sessions.op_destroy_clientid,
    Op.RECLAIM_COMPLETE: sessions.op_reclaim_complete,
}
# Linux falls back to READ for good when READ_PLUS is NOTSUPP; the others are for writers.
_OPERATIONS_42 = {op: _NOTSUPP for op in Op if Op.ALLOCATE <= op <= Op.REMOVEXATTR}

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


def compound(server: Server, arguments: Reader, results: Writer) -> None:
    """Run operations until one is not OK; its status is the compound's."""
    tag = arguments.opaque(MAX_TAG)
    minor, count = arguments.uint32(), arguments.uint32()
    body, done, status = Writer(), 0, Status.OK
    if minor not in MINOR_VERSIONS:
        status = Status.MINOR_VERS_MISMATCH
    elif count > MAX_OPERATIONS:
        status = Status.TOO_MANY_OPS
    else:
        state = Compound(server.catalogue, server.identities, minor, count)
        while done < count and status is Status.OK:
            status = _run_one(state, arguments, body, position=done)
            done += 1
    results.uint32(status)
    results.opaque(tag)
    results.uint32(done)
    results.extend(body)


def _run_one(state: Compound, arguments: Reader, body: Writer, *, position: int) -> Status:
    op, operation = _operation(arguments.uint32(), state.minor)
    result, status = Writer(), Status.OK
    try:
        _check_order(state, op, position)
        operation(state, arguments, result)
    except NfsError as error:
        status, result = error.status, Writer()
        if op is Op.SETATTR:
            result.bitmap(frozenset())  # SETATTR4res has its bitmap in any case
    except XdrError:
        status, result = Status.BADXDR, Writer()
    if len(body) + len(result) > MAX_REPLY:
        status, result = Status.REP_TOO_BIG, Writer()
    body.uint32(op)
    body.uint32(status)
    body.extend(result)
    return status


def _operation(number: int, minor: int) -> tuple[Op, Operation]:
    """Unknown numbers, and 4.2's in a 4.1 compound, are OP_ILLEGAL (section 18.52)."""
    try:
        op = Op(number)
    except ValueError:
        return Op.ILLEGAL, _refuse(Status.OP_ILLEGAL)
    operation = OPERATIONS.get(op)
    if operation is None and minor == 2:
        operation = _OPERATIONS_42.get(op)
    if operation is None:
        return Op.ILLEGAL, _refuse(Status.OP_ILLEGAL)
    return op, operation


def _check_order(state: Compound, op: Op, position: int) -> None:
    if op is Op.ILLEGAL:
        return
    if op is Op.SEQUENCE:
        if position:
            raise NfsError(Status.SEQUENCE_POS)
    elif not state.in_session:
        if op not in _SESSIONLESS:
            raise NfsError(Status.OP_NOT_IN_SESSION)
        if state.count > 1:
            raise NfsError(Status.NOT_ONLY_OP)
