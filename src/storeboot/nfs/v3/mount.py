"""MOUNT version 3 (RFC 1813 section 5): a token in, a filehandle out."""

from __future__ import annotations

from collections.abc import Callable

from storeboot.nfs.rpc import AuthFlavor
from storeboot.nfs.status import NfsError, Status
from storeboot.nfs.views import ALIAS_NAME, VIEW_DIRECTORY_NAME, Catalogue
from storeboot.nfs.xdr import Reader, Writer

PROGRAM = 100005
VERSION = 3
MNT = 1
MAX_PATH = 1024  # MNTPATHLEN

Procedure = Callable[[Catalogue, Reader, Writer], None]


def null(_catalogue: Catalogue, arguments: Reader, _results: Writer) -> None:
    arguments.end()


def mnt(
    catalogue: Catalogue, arguments: Reader, results: Writer, alias: bytes | None = None
) -> None:
    """Section 5.2.1. A view or a place in it; all else is refused like a wrong token: ACCESS.

    `alias` is the view that this peer may mount by the alias' name.
    """
    path = arguments.opaque(MAX_PATH)
    arguments.end()
    directory, *names = path.strip(b"/").split(b"/")
    try:
        if directory == ALIAS_NAME and alias is not None:
            root = catalogue.view_root(alias)
        elif directory == VIEW_DIRECTORY_NAME and names:
            root = catalogue.mount(names.pop(0))
        else:
            raise NfsError(Status.ACCESS)
        for name in names:
            root = catalogue.lookup(root, name)
    except NfsError:
        results.uint32(Status.ACCESS)
        return
    results.uint32(Status.OK)
    results.opaque(catalogue.raw(root))
    results.uint32(2)
    results.uint32(AuthFlavor.SYS)
    results.uint32(AuthFlavor.NONE)


def dump(_catalogue: Catalogue, arguments: Reader, results: Writer) -> None:
    """Section 5.2.2: nobody is remembered, so the list is empty."""
    arguments.end()
    results.boolean(False)


def umnt(_catalogue: Catalogue, arguments: Reader, _results: Writer) -> None:
    arguments.opaque(MAX_PATH)
    arguments.end()


PROCEDURES: dict[int, Procedure] = {
    0: null,
    MNT: mnt,
    2: dump,
    3: umnt,
    4: null,  # UMNTALL
    5: dump,  # EXPORT: tokens are not listed either
}
