"""Everything inside one store path, packed: about thirty bytes per inode instead of a thousand.

A server holds the names of every closure that its machines use, in each of its processes, so most
of its memory goes into this. Places are numbered directory by directory, so that the entries of one
directory are consecutive; each place has its own name and the number of its parent directory. A
second table, sorted by the first four bytes of the path id, leads from a filehandle to a number.
"""

from __future__ import annotations

from array import array
from bisect import bisect_left
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from enum import IntEnum
from hashlib import blake2b

from storeboot.nfs.handle import path_id

DIRECTORY_SIZE = 4096  # of every directory; the real size differs from server to server


class Kind(IntEnum):
    """The ftype3 and nfs_ftype4 of what a store can contain."""

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
    names: tuple[bytes, ...] = ()  # a directory's entries, sorted

    @property
    def mode(self) -> int:
        """Return the permission bits in Nix's canonical form."""
        if self.kind is Kind.SYMLINK:
            return 0o777
        return 0o555 if self.kind is Kind.DIRECTORY or self.executable else 0o444


def fileid(store_name: bytes, relative: bytes) -> int:
    """Return 48 bits that identify a place, the same on every server."""
    digest = blake2b(store_name + b"/" + relative, digest_size=6).digest()
    return int.from_bytes(digest, "big") | 0x100  # never equal to one of the pseudo file system


_EXECUTABLE = 0x80
_UNPACKED = {kind | bit: (kind, bit != 0) for kind in Kind for bit in (0, _EXECUTABLE)}


def packed_kind(node: Node) -> int:
    """Return kind and executable bit in one byte."""
    return node.kind | _EXECUTABLE * node.executable


def unpacked_kind(packed: int) -> tuple[Kind, bool]:
    return _UNPACKED[packed]


def packed(numbers: Sequence[int]) -> array[int]:
    """Return the numbers with as few bytes each as the largest one needs."""
    most = max(numbers, default=0)
    code = next(
        code for code, bits in (("B", 8), ("H", 16), ("I", 32), ("Q", 64)) if most >> bits == 0
    )
    return array(code, numbers)


class Texts:
    """Many byte strings, stored as one."""

    __slots__ = ("_data", "_ends")

    def __init__(self, texts: Iterable[bytes]) -> None:
        data, ends = bytearray(), []
        for text in texts:
            data += text
            ends.append(len(data))
        self._data = bytes(data)
        self._ends = packed(ends)

    def __getitem__(self, number: int) -> bytes:
        start = self._ends[number - 1] if number else 0
        return self._data[start : self._ends[number]]

    def some(self, start: int, stop: int) -> tuple[bytes, ...]:
        """Return the strings from number `start` up to, but not including, `stop`."""
        if start >= stop:
            return ()
        data, begin = self._data, self._ends[start - 1] if start else 0
        texts = []
        for end in self._ends[start:stop]:
            texts.append(data[begin:end])
            begin = end
        return tuple(texts)

    def __len__(self) -> int:
        return len(self._ends)

    def __iter__(self) -> Iterator[bytes]:
        return map(self.__getitem__, range(len(self)))

    @property
    def cost(self) -> int:
        return len(self._data) + self._ends.itemsize * len(self._ends)


class Index:
    """The places in one store path, by relative path; b"" is the store path itself."""

    __slots__ = ("_above", "_first", "_kinds", "_names", "_numbers", "_prefixes", "_sizes",
                 "_store_name", "_targets", "broken", "cost")  # fmt: skip

    def __init__(
        self, store_name: bytes, nodes: Mapping[bytes, Node], broken: frozenset[bytes] = frozenset()
    ) -> None:
        """`broken` are places that could not be read; those without a node are not listed."""
        order, above, first, entries = _numbered(nodes)
        found = [nodes[relative] for relative in order]
        links = [node for node in found if node.kind is Kind.SYMLINK]
        targets = iter(range(len(links)))
        self.broken = broken
        self._store_name = store_name
        self._names = Texts(relative.rpartition(b"/")[2] for relative in order)
        self._above = packed(above)
        self._kinds = bytes(map(packed_kind, found))
        # For a directory: number of entries, number of the first one. For a symlink: number of its
        # target.
        self._sizes = packed(
            [
                count if node.kind is Kind.DIRECTORY else node.size
                for node, count in zip(found, entries, strict=True)
            ]
        )
        self._first = packed(
            [
                next(targets) if node.kind is Kind.SYMLINK else number
                for node, number in zip(found, first, strict=True)
            ]
        )
        self._targets = Texts(node.target for node in links)
        ids = sorted((_prefix(path_id(relative)), number) for number, relative in enumerate(order))
        self._prefixes = array("I", (prefix for prefix, _ in ids))
        self._numbers = packed([number for _, number in ids])
        tables = (self._above, self._sizes, self._first, self._prefixes, self._numbers)
        self.cost = 1300 + len(found) * (1 + sum(table.itemsize for table in tables))
        self.cost += self._names.cost + self._targets.cost + 150 * len(broken)  # roughly, bytes

    def find(self, identity: bytes) -> tuple[bytes, Node] | None:
        """Return the path with this path id and its node, or None."""
        for number in self._candidates(identity):
            relative = self._path(number)
            if path_id(relative) == identity:
                return relative, self._node(number, relative)
        return None

    def get(self, relative: bytes) -> Node | None:
        """Return the node at a path, or None; a directory without its names, which few callers
        need."""
        number = self._find(relative)
        return None if number is None else self._node(number, relative)

    def _node(self, number: int, relative: bytes) -> Node:
        kind, executable = unpacked_kind(self._kinds[number])
        return Node(
            kind,
            fileid(self._store_name, relative),
            DIRECTORY_SIZE if kind is Kind.DIRECTORY else self._sizes[number],
            executable,
            self._targets[self._first[number]] if kind is Kind.SYMLINK else b"",
        )

    def names(self, relative: bytes) -> tuple[bytes, ...]:
        """Return a directory's entries, sorted."""
        number = self._find(relative)
        if number is None or unpacked_kind(self._kinds[number])[0] is not Kind.DIRECTORY:
            return ()
        first = self._first[number]
        return self._names.some(first, first + self._sizes[number])

    def children(self, relative: bytes, start: int = 0) -> Iterator[tuple[bytes, Node]]:
        """Yield the paths of a directory's entries and their nodes, sorted, from a position on."""
        number = self._find(relative)
        if number is None or unpacked_kind(self._kinds[number])[0] is not Kind.DIRECTORY:
            return
        first, above = self._first[number], relative + b"/" if relative else b""
        for child in range(first + start, first + self._sizes[number]):
            path = above + self._names[child]
            yield path, self._node(child, path)

    def _find(self, relative: bytes) -> int | None:
        for number in self._candidates(path_id(relative)):
            if self._path(number) == relative:
                return number
        return None

    def _candidates(self, identity: bytes) -> Iterator[int]:
        """Yield the numbers of places whose path id starts like this one: rarely more than one."""
        prefix = _prefix(identity)
        at = bisect_left(self._prefixes, prefix)
        while at < len(self._prefixes) and self._prefixes[at] == prefix:
            yield self._numbers[at]
            at += 1

    def _path(self, number: int) -> bytes:
        """Return the path of a place, from the names on the way down to it."""
        names = []
        while number:
            names.append(self._names[number])
            number = self._above[number]
        return b"/".join(reversed(names))


def _prefix(identity: bytes) -> int:
    return int.from_bytes(identity[:4], "big")


def _numbered(nodes: Mapping[bytes, Node]) -> tuple[list[bytes], list[int], list[int], list[int]]:
    """Return the paths in order, so that each directory's entries are consecutive.

    The other lists have, for each path, the number of its parent, and the first number and the
    count of its entries.
    """
    order = [b""] if b"" in nodes else []
    above, first, entries = [0] * len(order), [], []
    for number, relative in enumerate(order):  # the list grows while it is read
        first.append(len(order))
        for name in nodes[relative].names:
            path = relative + b"/" + name if relative else name
            if path in nodes:
                order.append(path)
                above.append(number)
        entries.append(len(order) - first[-1])
    return order, above, first, entries
