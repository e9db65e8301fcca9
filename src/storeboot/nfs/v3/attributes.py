"""fattr3 and the optional attributes in every reply (RFC 1813 section 2.6)."""

from __future__ import annotations

import struct

from storeboot.nfs.index import Kind, Node
from storeboot.nfs.limits import TIME_SECONDS
from storeboot.nfs.xdr import Writer

FSID = 0x73746F7265626F6F  # the same for every view on every server
_FATTR3 = struct.Struct(">IIIIIQQIIQQIIIIII")


def fattr3(node: Node) -> bytes:
    """Return the attributes. Owner 0:0; link count 1, which file walkers read as "unknown"."""
    used = node.size + 511 & ~511 if node.kind is Kind.REGULAR else node.size
    times = (TIME_SECONDS, 0) * 3
    return _FATTR3.pack(
        node.kind, node.mode, 1, 0, 0, node.size, used, 0, 0, FSID, node.fileid, *times
    )


def post_op_attr(results: Writer, node: Node | None) -> None:
    """Write post_op_attr: the attributes if the place is known."""
    results.boolean(node is not None)
    if node is not None:
        results.raw(fattr3(node))


def wcc_data(results: Writer, _node: Node | None) -> None:
    """Write an empty wcc_data: a refused change has no state before and after it."""
    results.boolean(False)
    results.boolean(False)
