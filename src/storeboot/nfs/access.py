"""ACCESS, the same in both protocols (RFC 1813 section 3.3.4, RFC 8881 section 18.1)."""

from __future__ import annotations

from enum import IntFlag

from storeboot.nfs.index import Kind, Node


class Access(IntFlag):
    """What a client may ask about, without the bits for extended attributes (RFC 8276)."""

    READ = 0x01
    LOOKUP = 0x02
    MODIFY = 0x04
    EXTEND = 0x08
    DELETE = 0x10
    EXECUTE = 0x20


ALL = Access(0x3F)


def granted(node: Node) -> Access:
    """Return what every client may do: everyone may read the store, and no one may change it."""
    if node.kind is Kind.DIRECTORY:
        return Access.READ | Access.LOOKUP | Access.EXECUTE
    return Access.READ | Access.EXECUTE if node.executable else Access.READ
