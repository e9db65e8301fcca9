"""MOUNT version 3 (RFC 1813 section 5): takes a token, returns a filehandle."""

from __future__ import annotations

from storeboot.nfs.refusal import Refusal
from storeboot.nfs.rpc import AuthFlavor
from storeboot.nfs.status import NfsError, Status
from storeboot.nfs.v3.dispatch import Procedure, Request
from storeboot.nfs.v3.procedures import null
from storeboot.nfs.walk import ALIAS_NAME, VIEW_DIRECTORY_NAME, Entry
from storeboot.nfs.xdr import Writer

PROGRAM = 100005
VERSION = 3
MAX_PATH = 1024  # MNTPATHLEN
# mountstat3 of section 5.1.5 has fewer statuses than NFS, and none that makes a client ask again.
# Linux turns SERVERFAULT into EREMOTEIO, which nothing else causes, and an unknown one into EACCES
# (fs/nfs/mount_clnt.c).
_STATUSES = {
    Status.DELAY: Status.SERVERFAULT,
    **{each: each for each in (Status.NOENT, Status.IO, Status.NOTDIR, Status.NAMETOOLONG)},
}


def mnt(request: Request, results: Writer) -> None:
    """Mount a view or a place in it (section 5.2.1)."""
    path = request.arguments.opaque(MAX_PATH)
    request.arguments.end()
    try:
        root = _mounted(request, path)
    except NfsError as error:
        raise NfsError(_STATUSES.get(error.status, Status.ACCESS)) from None
    results.uint32(Status.OK)
    results.opaque(request.walk.raw(root))
    results.uint32(2)
    results.uint32(AuthFlavor.SYS)
    results.uint32(AuthFlavor.NONE)


def _mounted(request: Request, path: bytes) -> Entry:
    """Return the place that a path leads to, which starts with the alias or with a token."""
    directory, *names = path.strip(b"/").split(b"/")
    if directory == ALIAS_NAME:
        if isinstance(request.alias, Refusal):
            raise request.walk.refused(request.alias)
        place = request.walk.view_root(request.alias)
    elif directory == VIEW_DIRECTORY_NAME and names:
        place = request.walk.mount(names.pop(0))
    else:
        raise request.walk.refused(Refusal.NO_EXPORT)
    for name in names:
        place = request.walk.lookup(place, name)
    return place


def dump(request: Request, results: Writer) -> None:
    """List the mounts (section 5.2.2): none, because nothing is remembered."""
    request.arguments.end()
    results.boolean(False)


def umnt(request: Request, _results: Writer) -> None:
    request.arguments.opaque(MAX_PATH)
    request.arguments.end()


PROCEDURES: dict[int, Procedure] = {
    0: Procedure(null, pure=True),
    1: Procedure(mnt),  # the alias leads each address to another view
    2: Procedure(dump, pure=True),
    3: Procedure(umnt, pure=True),
    4: Procedure(null, pure=True),  # UMNTALL
    5: Procedure(dump, pure=True),  # EXPORT: tokens are not listed
}
