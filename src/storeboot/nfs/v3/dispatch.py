"""Rows of NFSv3, MOUNT and NFSACL, and the one place where their errors become statuses."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from storeboot.nfs import rpc
from storeboot.nfs.index import Node
from storeboot.nfs.status import NfsError, Status
from storeboot.nfs.walk import Entry, Walk
from storeboot.nfs.xdr import Reader, Writer

MAX_HANDLE = 64  # NFS3_FHSIZE


@dataclass(slots=True)
class Request:
    """One call while it is answered."""

    walk: Walk
    arguments: Reader
    alias: bytes | None  # the view that this peer may mount by the alias' name
    place: Entry | None = None  # where the call's first filehandle leads, once that is known

    def resolve(self) -> Entry:
        """Return the place of the filehandle that the arguments go on with."""
        self.place = place = self.walk.resolve(self.arguments.opaque(MAX_HANDLE))
        return place


def nothing(_results: Writer, _node: Node | None) -> None:
    """Write what is behind a status that stands alone, or behind none."""


@dataclass(frozen=True, slots=True)
class Procedure:
    """What is known of one procedure: a row of its program's table.

    `run` reads the arguments and writes the results. It raises NfsError at any point, and what it
    has written is dropped then. `failed` writes what follows a status that is not OK; the node is
    that of the place asked about, if the call came so far. A procedure with a `refusal` ends with
    that status if `run` finds nothing else wrong. The reply of a `pure` one follows from the
    call's bytes alone, so it may be kept and given to whoever asks the same.
    """

    run: Callable[[Request, Writer], None]
    failed: Callable[[Writer, Node | None], None] = nothing
    refusal: Status | None = None
    pure: bool = False


def answer(procedure: Procedure, request: Request, xid: int) -> Writer:
    """Return the reply to a call, an accepted one whatever its status."""
    results = rpc.accepted(xid)
    try:
        procedure.run(request, results)
        if procedure.refusal is None:
            return results
        status = procedure.refusal
    except NfsError as error:
        status = error.status
    results = rpc.accepted(xid)
    results.uint32(status)
    procedure.failed(results, None if request.place is None else request.place.node)
    return results
