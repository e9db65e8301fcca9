"""Table rows of NFSv3, MOUNT and NFSACL, and the only place where errors become statuses."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from storeboot.nfs import rpc
from storeboot.nfs.index import Node
from storeboot.nfs.refusal import Refusal
from storeboot.nfs.status import NfsError, Status
from storeboot.nfs.walk import Entry, Walk
from storeboot.nfs.xdr import Reader, Writer

MAX_HANDLE = 64  # NFS3_FHSIZE


@dataclass(slots=True)
class Request:
    """A call that is being answered."""

    walk: Walk
    arguments: Reader
    alias: bytes | Refusal  # the view that this peer may mount through the alias
    place: Entry | None = None  # where the call's first filehandle leads, once known

    def resolve(self) -> Entry:
        """Return the place of the next filehandle in the arguments."""
        self.place = place = self.walk.resolve(self.arguments.opaque(MAX_HANDLE))
        return place


def nothing(_results: Writer, _node: Node | None) -> None:
    """Write nothing, for results that consist of a status, or of nothing at all."""


@dataclass(frozen=True, slots=True)
class Procedure:
    """Everything known about one procedure: a row of its program's table.

    `run` reads the arguments and writes the results. It may raise NfsError at any point; what it
    has written is then dropped. `failed` writes what follows a status that is not OK; its node is
    that of the place the call is about, if the call got that far. A procedure with a `refusal` ends
    with that status if `run` finds nothing else wrong. The reply of a `pure` procedure depends on
    nothing but the call's bytes, so it may be cached and given to other clients.
    """

    run: Callable[[Request, Writer], None]
    failed: Callable[[Writer, Node | None], None] = nothing
    refusal: Status | None = None
    pure: bool = False


def answer(procedure: Procedure, request: Request, xid: int) -> Writer:
    """Return the reply to a call: an accepted one, whatever its status."""
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
