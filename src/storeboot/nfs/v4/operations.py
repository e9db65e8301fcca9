"""The operations of NFSv4: everything known about each, in one row (RFC 8881 section 17)."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from storeboot.nfs.status import Status
from storeboot.nfs.v4 import changes, files, locks, minor0, opens, sessions
from storeboot.nfs.v4.constants import Op
from storeboot.nfs.v4.state import Compound
from storeboot.nfs.xdr import Reader, Writer

MINOR_VERSIONS = range(3)
ALL = MINOR_VERSIONS
FIRST = range(1)  # NFSv4.0 only: replaced by sessions later
SESSIONS = range(1, 3)  # since NFSv4.1
LAST = range(2, 3)  # since NFSv4.2

Run = Callable[[Compound, Reader, Writer], None]


@dataclass(frozen=True, slots=True)
class Operation:
    """Everything known about one operation: a row of the table.

    `run` reads the arguments and writes the result. It may raise NfsError at any point; what it has
    written is then dropped, and `failed` is the result after a status that is not OK. An operation
    with a `refusal` ends with that status if `run` finds nothing else wrong.

    The result of a `pure` operation depends on nothing but the call's bytes, whoever sends them, so
    the reply may be cached and given to other clients. Any other operation runs once for each
    sequence id, and its reply is repeated. A `sessionless` one may come without SEQUENCE (RFC 8881
    section 2.10.2.1).
    """

    run: Run
    minors: range
    refusal: Status | None = None
    pure: bool = False
    sessionless: bool = False
    failed: bytes = b""


def _unread(_compound: Compound, _arguments: Reader, _results: Writer) -> None:
    """Do not even read the arguments: nothing is wrong."""


def _unsupported(minors: range) -> Operation:
    return Operation(_unread, minors, refusal=Status.NOTSUPP, pure=True)


def _change(check: Run, failed: bytes = b"") -> Operation:
    return Operation(check, ALL, refusal=Status.ROFS, pure=True, failed=failed)


OPERATIONS: dict[Op, Operation] = {
    Op.ACCESS: Operation(files.op_access, ALL, pure=True),
    Op.CLOSE: Operation(opens.op_close, ALL, pure=True),
    Op.COMMIT: _change(changes.op_change),
    Op.CREATE: _change(changes.op_create),
    Op.DELEGPURGE: _unsupported(ALL),
    Op.DELEGRETURN: Operation(opens.op_delegreturn, ALL, pure=True),
    Op.GETATTR: Operation(files.op_getattr, ALL, pure=True),
    Op.GETFH: Operation(files.op_getfh, ALL, pure=True),
    Op.LINK: _change(changes.op_link),
    Op.LOCK: Operation(locks.op_lock, ALL, pure=True),
    Op.LOCKT: Operation(locks.op_lockt, ALL, pure=True),
    Op.LOCKU: Operation(locks.op_locku, ALL, pure=True),
    Op.LOOKUP: Operation(files.op_lookup, ALL, pure=True),
    Op.LOOKUPP: Operation(files.op_lookupp, ALL, pure=True),
    Op.NVERIFY: Operation(files.op_nverify, ALL, pure=True),
    Op.OPEN: Operation(opens.op_open, ALL, pure=True),
    Op.OPENATTR: _unsupported(ALL),
    Op.OPEN_CONFIRM: Operation(minor0.op_open_confirm, FIRST),
    Op.OPEN_DOWNGRADE: Operation(opens.op_open_downgrade, ALL, pure=True),
    Op.PUTFH: Operation(files.op_putfh, ALL, pure=True),
    Op.PUTPUBFH: Operation(files.op_putrootfh, ALL, pure=True),
    Op.PUTROOTFH: Operation(files.op_putrootfh, ALL, pure=True),
    Op.READ: Operation(files.op_read, ALL, pure=True),
    Op.READDIR: Operation(files.op_readdir, ALL, pure=True),
    Op.READLINK: Operation(files.op_readlink, ALL, pure=True),
    Op.REMOVE: _change(changes.op_remove),
    Op.RENAME: _change(changes.op_rename),
    Op.RENEW: Operation(minor0.op_renew, FIRST),
    Op.RESTOREFH: Operation(files.op_restorefh, ALL, pure=True),
    Op.SAVEFH: Operation(files.op_savefh, ALL, pure=True),
    Op.SECINFO: Operation(files.op_secinfo, ALL, pure=True),
    Op.SETATTR: _change(changes.op_change, failed=bytes(4)),  # attrsset, whatever the status
    Op.SETCLIENTID: Operation(minor0.op_setclientid, FIRST),
    Op.SETCLIENTID_CONFIRM: Operation(minor0.op_setclientid_confirm, FIRST),
    Op.VERIFY: Operation(files.op_verify, ALL, pure=True),
    Op.WRITE: _change(changes.op_change),
    Op.RELEASE_LOCKOWNER: Operation(minor0.op_release_lockowner, FIRST),
    Op.BACKCHANNEL_CTL: _unsupported(SESSIONS),
    Op.BIND_CONN_TO_SESSION: Operation(
        sessions.op_bind_conn_to_session, SESSIONS, sessionless=True
    ),
    Op.EXCHANGE_ID: Operation(sessions.op_exchange_id, SESSIONS, sessionless=True),
    Op.CREATE_SESSION: Operation(sessions.op_create_session, SESSIONS, sessionless=True),
    Op.DESTROY_SESSION: Operation(sessions.op_destroy_session, SESSIONS, sessionless=True),
    Op.FREE_STATEID: Operation(opens.op_free_stateid, SESSIONS, pure=True),
    # Linux 7 asks for one in the GETATTR of a directory.
    Op.GET_DIR_DELEGATION: Operation(opens.op_get_dir_delegation, SESSIONS, pure=True),
    Op.GETDEVICEINFO: _unsupported(SESSIONS),
    Op.GETDEVICELIST: _unsupported(SESSIONS),
    Op.LAYOUTCOMMIT: _unsupported(SESSIONS),
    Op.LAYOUTGET: _unsupported(SESSIONS),
    Op.LAYOUTRETURN: _unsupported(SESSIONS),
    Op.SECINFO_NO_NAME: Operation(files.op_secinfo_no_name, SESSIONS, pure=True),
    # The result is the caller's own, but `replies.py` puts it into a cached reply.
    Op.SEQUENCE: Operation(sessions.op_sequence, SESSIONS, pure=True),
    Op.SET_SSV: _unsupported(SESSIONS),
    Op.TEST_STATEID: Operation(opens.op_test_stateid, SESSIONS, pure=True),
    Op.WANT_DELEGATION: _unsupported(SESSIONS),
    Op.DESTROY_CLIENTID: Operation(sessions.op_destroy_clientid, SESSIONS, sessionless=True),
    Op.RECLAIM_COMPLETE: Operation(sessions.op_reclaim_complete, SESSIONS),
    Op.ALLOCATE: _unsupported(LAST),
    Op.COPY: _unsupported(LAST),
    Op.COPY_NOTIFY: _unsupported(LAST),
    Op.DEALLOCATE: _unsupported(LAST),
    Op.IO_ADVISE: _unsupported(LAST),
    Op.LAYOUTERROR: _unsupported(LAST),
    Op.LAYOUTSTATS: _unsupported(LAST),
    Op.OFFLOAD_CANCEL: _unsupported(LAST),
    Op.OFFLOAD_STATUS: _unsupported(LAST),
    # If these two are refused once, Linux never sends them again, and needs fewer round trips.
    Op.READ_PLUS: _unsupported(LAST),
    Op.SEEK: _unsupported(LAST),
    Op.WRITE_SAME: _unsupported(LAST),
    Op.CLONE: _unsupported(LAST),
    Op.GETXATTR: _unsupported(LAST),
    Op.SETXATTR: _unsupported(LAST),
    Op.LISTXATTRS: _unsupported(LAST),
    Op.REMOVEXATTR: _unsupported(LAST),
    Op.ILLEGAL: Operation(_unread, ALL, refusal=Status.OP_ILLEGAL, pure=True),
}


def find(number: int, minor: int) -> tuple[Op, Operation]:
    """Return the operation that a number stands for in a minor version.

    Unknown numbers, and those of a later version, are ILLEGAL (RFC 8881 section 18.52). Operations
    that a version no longer has are not supported (section 17).
    """
    return _BY_NUMBER[minor].get(number, _ILLEGAL)


def _of_minor(minor: int) -> dict[int, tuple[Op, Operation]]:
    known = {op: row for op, row in OPERATIONS.items() if row.minors.start <= minor}
    gone = _unsupported(FIRST)
    return {int(op): (op, row if minor in row.minors else gone) for op, row in known.items()}


_ILLEGAL = (Op.ILLEGAL, OPERATIONS[Op.ILLEGAL])
_BY_NUMBER = [_of_minor(minor) for minor in MINOR_VERSIONS]
