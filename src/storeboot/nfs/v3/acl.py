"""NFSACL version 3, the side protocol in which NFSv3 clients ask for POSIX ACLs.

A store has none, but "not supported" is no answer: overlayfs over NFSv3 passes that error on to
every user but the owner (Linux `check_acl`), so that only root could execute anything. "This file
has no ACL entries" is what makes it go by the mode. No RFC describes the protocol; its shapes are
those of Solaris' nfs_acl.x, as Linux speaks it.
"""

from __future__ import annotations

from storeboot.nfs.status import NfsError, Status
from storeboot.nfs.v3.attributes import post_op_attr
from storeboot.nfs.v3.procedures import MAX_HANDLE, Procedure, null
from storeboot.nfs.views import Catalogue
from storeboot.nfs.xdr import Reader, Writer

PROGRAM = 100227
VERSION = 3
_MASK = 0xF  # NFS_ACL, NFS_ACLCNT, NFS_DFACL, NFS_DFACLCNT


def getacl(catalogue: Catalogue, arguments: Reader, results: Writer) -> None:
    try:
        entry = catalogue.resolve(arguments.opaque(MAX_HANDLE))
    except NfsError as error:
        results.uint32(error.status)
        post_op_attr(results, None)
        return
    mask = arguments.uint32() & _MASK
    arguments.end()
    results.uint32(Status.OK)
    post_op_attr(results, entry.node)
    results.uint32(mask)
    for _ in range(4):  # access and default ACL: the count of entries, and an array of none
        results.uint32(0)


def setacl(catalogue: Catalogue, arguments: Reader, results: Writer) -> None:
    try:
        entry = catalogue.resolve(arguments.opaque(MAX_HANDLE))
    except NfsError as error:
        results.uint32(error.status)
        post_op_attr(results, None)
        return
    results.uint32(Status.ROFS)
    post_op_attr(results, entry.node)


PROCEDURES: dict[int, Procedure] = {0: null, 1: getacl, 2: setacl}
