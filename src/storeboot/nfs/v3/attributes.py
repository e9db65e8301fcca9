"""fattr3 and the optional attributes around every reply (RFC 1813 section 2.6)."""

from __future__ import annotations

import struct

from storeboot.nfs.index import Kind, Node
from storeboot.nfs.limits import TIME_SECONDS
from storeboot.nfs.xdr import Writer

FSID = 0x73746F7265626F6F  # one constant for every view on every server
_FATTR3 = struct.Struct(">IIIIIQQIIQQIIIIII")


def fattr3(node: Node) -> bytes:
    """Owner 0:0; a directory's link count is 1, which file walkers read as "unknown"."""
    used = node.size + 511 & ~511 if node.kind is Kind.REGULAR else node.size
    times = (TIME_SECONDS, 0) * 3
    return _FATTR3.pack(
        node.kind, node.mode, 1, 0, 0, node.size, used, 0, 0, FSID, node.fileid, *times
    )


def post_op_attr(results: Writer, node: Node | None) -> None:
    """post_op_attr: present when the place is known."""
    results.boolean(node is not None)
    if node is not None:
        results.raw(fattr3(node))


def wcc_data(results: Writer, _node: Node | None) -> None:
    """wcc_data with nothing in it: a refused change has no before and after."""
    results.boolean(False)
    results.boolean(False)
