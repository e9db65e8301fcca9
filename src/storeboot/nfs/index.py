"""Everything inside one store path, packed: some hundred bytes an inode instead of a thousand.

A server holds the names of every closure that its machines use, in each of its processes, so this
is what its memory goes to. Places are sorted by their path id, which is a hash: finding one is a
bisection, and no second table leads from handles to names.
"""

from __future__ import annotations

from array import array
from bisect import bisect_left
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from enum import IntEnum
from hashlib import blake2b

from storeboot.nfs.handle import PATH_ID_SIZE, path_id

DIRECTORY_SIZE = 4096  # every directory's; the true one differs from server to server


class Kind(IntEnum):
    """ftype3 and nfs_ftype4 of what a store can hold."""

    REGULAR = 1
    DIRECTORY = 2
    SYMLINK = 5


@dataclass(frozen=True, slots=True)
class Node:
    """One file, directory or symlink, with the attributes that Nix keeps (NAR format)."""

    kind: Kind
    fileid: int  # below 2**48, for overlayfs' xino
    size: int = DIRECTORY_SIZE  # bytes
    executable: bool = False
    target: bytes = b""
    names: tuple[bytes, ...] = ()  # of a directory's entries, sorted

    @property
    def mode(self) -> int:
        """Permission bits as Nix canonicalises them."""
        if self.kind is Kind.SYMLINK:
            return 0o777
        return 0o555 if self.kind is Kind.DIRECTORY or self.executable else 0o444


def fileid(store_name: bytes, relative: bytes) -> int:
    """48 bits that name a place, the same on every server."""
    digest = blake2b(store_name + b"/" + relative, digest_size=6).digest()
    return int.from_bytes(digest, "big") | 0x100  # never one of the pseudo file system's


_EXECUTABLE = 0x80


def packed_kind(node: Node) -> int:
    """Kind and executable bit in one byte."""
    return node.kind | _EXECUTABLE * node.executable


def unpacked_kind(packed: int) -> tuple[Kind, bool]:
    return Kind(packed & ~_EXECUTABLE), packed & _EXECUTABLE != 0


class _Ids:
    """The sorted path ids as bisect wants to see them."""

    __slots__ = ("packed",)

    def __init__(self, packed: bytes) -> None:
        self.packed = packed

    def __len__(self) -> int:
        return len(self.packed) // PATH_ID_SIZE

    def __getitem__(self, number: int) -> bytes:
        start = number * PATH_ID_SIZE
        return self.packed[start : start + PATH_ID_SIZE]


class Texts:
    """Many byte strings in one."""

    __slots__ = ("_data", "_ends")

    def __init__(self, texts: Iterable[bytes]) -> None:
        data, ends = bytearray(), array("Q")
        for text in texts:
            data += text
            ends.append(len(data))
        self._data = bytes(data)
        self._ends = ends

    def __getitem__(self, number: int) -> bytes:
        start = self._ends[number - 1] if number else 0
        return self._data[start : self._ends[number]]

    def __len__(self) -> int:
        return len(self._ends)

    def __iter__(self) -> Iterator[bytes]:
        return map(self.__getitem__, range(len(self)))

    @property
    def cost(self) -> int:
        return len(self._data) + 8 * len(self._ends)


class Index:
    """Paths relative to the store path, b"" being itself, and what is there."""

    __slots__ = ("_ids", "_kinds", "_paths", "_sizes", "_store_name", "_texts", "cost")

    def __init__(self, store_name: bytes, nodes: dict[bytes, Node]) -> None:
        ids = {path_id(relative): relative for relative in nodes}
        if len(ids) != len(nodes):
            raise ValueError("two paths of one store path share a path id")
        order = sorted(ids)
        found = [nodes[ids[identity]] for identity in order]
        self._store_name = store_name
        self._ids = _Ids(b"".join(order))
        self._kinds = bytes(map(packed_kind, found))
        self._sizes = array("Q", (node.size for node in found))
        self._paths = Texts(ids[identity] for identity in order)
        # A name holds no slash (and no NUL), so that a slash can part the names of a directory.
        self._texts = Texts(node.target or b"/".join(node.names) for node in found)
        self.cost = 800 + 23 * len(found) + self._paths.cost + self._texts.cost  # bytes, about

    def relative(self, identity: bytes) -> bytes | None:
        """The path with this path id."""
        number = self._find(identity)
        return None if number is None else self._paths[number]

    def get(self, relative: bytes) -> Node | None:
        """What is at a path; a directory without its names, which few questions need."""
        number = self._find(path_id(relative))
        if number is None:
            return None
        kind, executable = unpacked_kind(self._kinds[number])
        return Node(
            kind,
            fileid(self._store_name, relative),
            self._sizes[number],
            executable,
            self._texts[number] if kind is Kind.SYMLINK else b"",
        )

    def names(self, relative: bytes) -> tuple[bytes, ...]:
        """A directory's entries, sorted."""
        number = self._find(path_id(relative))
        packed = b"" if number is None else self._texts[number]
        return tuple(packed.split(b"/")) if packed else ()

    def _find(self, identity: bytes) -> int | None:
        number = bisect_left(self._ids, identity)
        return number if number < len(self._ids) and self._ids[number] == identity else None
