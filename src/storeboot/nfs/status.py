"""Status codes of NFSv3 and NFSv4. Codes that both have are the same number."""

from __future__ import annotations

from enum import IntEnum


class Status(IntEnum):
    """nfsstat3 (RFC 1813 section 2.6) and nfsstat4 (RFC 8881 section 15.1)."""

    OK = 0
    PERM = 1
    NOENT = 2
    IO = 5
    ACCESS = 13
    NOTDIR = 20
    ISDIR = 21
    INVAL = 22
    NOSPC = 28
    ROFS = 30
    NAMETOOLONG = 63
    STALE = 70
    BADHANDLE = 10001
    BAD_COOKIE = 10003
    NOTSUPP = 10004
    TOOSMALL = 10005
    SERVERFAULT = 10006
    BADTYPE = 10007
    DELAY = 10008
    SAME = 10009
    CLID_INUSE = 10017
    RESOURCE = 10018
    NOFILEHANDLE = 10020
    MINOR_VERS_MISMATCH = 10021
    STALE_CLIENTID = 10022
    NOT_SAME = 10027
    SYMLINK = 10029
    RESTOREFH = 10030
    ATTRNOTSUPP = 10032
    BADXDR = 10036
    OPENMODE = 10038
    BADNAME = 10041
    OP_ILLEGAL = 10044
    BADSESSION = 10052
    BADSLOT = 10053
    COMPLETE_ALREADY = 10054
    SEQ_MISORDERED = 10063
    SEQUENCE_POS = 10064
    REQ_TOO_BIG = 10065
    REP_TOO_BIG = 10066
    REP_TOO_BIG_TO_CACHE = 10067
    TOO_MANY_OPS = 10070
    OP_NOT_IN_SESSION = 10071
    CLIENTID_BUSY = 10074
    NOT_ONLY_OP = 10081
    WRONG_TYPE = 10083


class NfsError(Exception):
    """A regular answer of the protocol that is not OK."""

    def __init__(self, status: Status) -> None:
        super().__init__(status.name)
        self.status = status
