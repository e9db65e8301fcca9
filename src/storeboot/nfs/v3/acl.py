"""NFSACL version 3, the side protocol in which NFSv3 clients ask for POSIX ACLs.

A store has no ACLs, but "not supported" is not a usable answer: overlayfs over NFSv3 passes that
error on to every user but the owner (Linux `check_acl`), so that only root could execute anything.
After "this file has no ACL entries", it uses the mode. No RFC describes the protocol; the
structures here are those of Solaris' nfs_acl.x, as Linux uses them.
"""

from __future__ import annotations

from storeboot.nfs.status import Status
from storeboot.nfs.v3.attributes import post_op_attr
from storeboot.nfs.v3.dispatch import Procedure, Request
from storeboot.nfs.v3.procedures import null
from storeboot.nfs.xdr import Writer

PROGRAM = 100227
VERSION = 3
_MASK = 0xF  # NFS_ACL, NFS_ACLCNT, NFS_DFACL, NFS_DFACLCNT


def getacl(request: Request, results: Writer) -> None:
    entry = request.resolve()
    mask = request.arguments.uint32() & _MASK
    request.arguments.end()
    results.uint32(Status.OK)
    post_op_attr(results, entry.node)
    results.uint32(mask)
    for _ in range(4):  # access and default ACL: the count of entries, and an empty array
        results.uint32(0)


def setacl(request: Request, _results: Writer) -> None:
    request.resolve()


PROCEDURES: dict[int, Procedure] = {
    0: Procedure(null, pure=True),
    1: Procedure(getacl, post_op_attr, pure=True),
    2: Procedure(setacl, post_op_attr, refusal=Status.ROFS, pure=True),
}
