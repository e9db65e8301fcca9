"""Operation and attribute numbers (RFC 8881 sections 5 and 16, RFC 7862, RFC 9754)."""

from __future__ import annotations

from enum import IntEnum, IntFlag

PROGRAM = 100003
VERSION = 4
MAX_HANDLE = 128  # NFS4_FHSIZE
MAX_TAG = 1024
MAX_OPAQUE = 1024  # NFS4_OPAQUE_LIMIT


class Op(IntEnum):
    """nfs_opnum4."""

    ACCESS = 3
    CLOSE = 4
    COMMIT = 5
    CREATE = 6
    DELEGPURGE = 7
    DELEGRETURN = 8
    GETATTR = 9
    GETFH = 10
    LINK = 11
    LOCK = 12
    LOCKT = 13
    LOCKU = 14
    LOOKUP = 15
    LOOKUPP = 16
    NVERIFY = 17
    OPEN = 18
    OPENATTR = 19
    OPEN_CONFIRM = 20
    OPEN_DOWNGRADE = 21
    PUTFH = 22
    PUTPUBFH = 23
    PUTROOTFH = 24
    READ = 25
    READDIR = 26
    READLINK = 27
    REMOVE = 28
    RENAME = 29
    RENEW = 30
    RESTOREFH = 31
    SAVEFH = 32
    SECINFO = 33
    SETATTR = 34
    SETCLIENTID = 35
    SETCLIENTID_CONFIRM = 36
    VERIFY = 37
    WRITE = 38
    RELEASE_LOCKOWNER = 39
    BACKCHANNEL_CTL = 40
    BIND_CONN_TO_SESSION = 41
    EXCHANGE_ID = 42
    CREATE_SESSION = 43
    DESTROY_SESSION = 44
    FREE_STATEID = 45
    GET_DIR_DELEGATION = 46
    GETDEVICEINFO = 47
    GETDEVICELIST = 48
    LAYOUTCOMMIT = 49
    LAYOUTGET = 50
    LAYOUTRETURN = 51
    SECINFO_NO_NAME = 52
    SEQUENCE = 53
    SET_SSV = 54
    TEST_STATEID = 55
    WANT_DELEGATION = 56
    DESTROY_CLIENTID = 57
    RECLAIM_COMPLETE = 58
    ALLOCATE = 59
    COPY = 60
    COPY_NOTIFY = 61
    DEALLOCATE = 62
    IO_ADVISE = 63
    LAYOUTERROR = 64
    LAYOUTSTATS = 65
    OFFLOAD_CANCEL = 66
    OFFLOAD_STATUS = 67
    READ_PLUS = 68
    SEEK = 69
    WRITE_SAME = 70
    CLONE = 71
    GETXATTR = 72
    SETXATTR = 73
    LISTXATTRS = 74
    REMOVEXATTR = 75
    ILLEGAL = 10044


class Attr(IntEnum):
    """The fattr4 attributes that are supported. ACLs and xattrs are left out on purpose."""

    SUPPORTED_ATTRS = 0
    TYPE = 1
    FH_EXPIRE_TYPE = 2
    CHANGE = 3
    SIZE = 4
    LINK_SUPPORT = 5
    SYMLINK_SUPPORT = 6
    NAMED_ATTR = 7
    FSID = 8
    UNIQUE_HANDLES = 9
    LEASE_TIME = 10
    RDATTR_ERROR = 11
    CANSETTIME = 15
    CASE_INSENSITIVE = 16
    CASE_PRESERVING = 17
    CHOWN_RESTRICTED = 18
    FILEHANDLE = 19
    FILEID = 20
    FILES_AVAIL = 21
    FILES_FREE = 22
    FILES_TOTAL = 23
    HOMOGENEOUS = 26
    MAXFILESIZE = 27
    MAXLINK = 28
    MAXNAME = 29
    MAXREAD = 30
    MAXWRITE = 31
    MODE = 33
    NO_TRUNC = 34
    NUMLINKS = 35
    OWNER = 36
    OWNER_GROUP = 37
    RAWDEV = 41
    SPACE_AVAIL = 42
    SPACE_FREE = 43
    SPACE_TOTAL = 44
    SPACE_USED = 45
    TIME_ACCESS = 47
    TIME_DELTA = 51
    TIME_METADATA = 52
    TIME_MODIFY = 53
    MOUNTED_ON_FILEID = 55
    SUPPATTR_EXCLCREAT = 75
    OPEN_ARGUMENTS = 86


class ExchangeFlag(IntFlag):
    """EXCHANGE_ID flags (RFC 8881 section 18.35)."""

    USE_NON_PNFS = 0x0001_0000
    UPD_CONFIRMED_REC_A = 0x4000_0000
    CONFIRMED_R = 0x8000_0000
    # All flags that a client may set: SUPP_MOVED_REFER, SUPP_MOVED_MIGR, BIND_PRINC_STATEID,
    # USE_NON_PNFS, USE_PNFS_MDS, USE_PNFS_DS, UPD_CONFIRMED_REC_A.
    ARGUMENTS = 0x4007_0103
    SUPP_FENCE_OPS = 0x4  # in minor version 2 only (RFC 7862)


class CreateSessionFlag(IntFlag):
    """CREATE_SESSION flags (RFC 8881 section 18.36): PERSIST, CONN_BACK_CHAN, CONN_RDMA."""

    ALL = 0x7


class ShareAccess(IntFlag):
    """share_access of OPEN (RFC 8881 section 18.16, RFC 9754 section 4)."""

    READ = 0x1
    WRITE = 0x2
    WANT_MASK = 0xFF00
    WANT_NO_DELEG = 0x0400
    WANT_OPEN_XOR_DELEGATION = 0x20_0000


class OpenResult(IntFlag):
    """rflags of OPEN."""

    LOCKTYPE_POSIX = 0x04
    NO_OPEN_STATEID = 0x10


class LockType(IntEnum):
    """nfs_lock_type4; the last two are for clients that would wait (RFC 8881 section 18.10)."""

    READ = 1
    WRITE = 2
    READW = 3
    WRITEW = 4


class Claim(IntEnum):
    """open_claim_type4."""

    NULL = 0
    PREVIOUS = 1
    DELEGATE_CUR = 2
    DELEGATE_PREV = 3
    FH = 4
    DELEG_CUR_FH = 5
    DELEG_PREV_FH = 6


class Delegation(IntEnum):
    """open_delegation_type4."""

    NONE = 0
    READ = 1
    NONE_EXT = 3
