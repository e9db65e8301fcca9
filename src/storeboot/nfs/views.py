"""What is served: views of closures, and what has been read of them so far.

A view is an exact, immutable set of store paths. The catalogue holds the names and attributes that
were read from disk by others. A call that needs more raises NotLoadedError (`walk.py`); the code
that may do I/O then loads it and repeats the call. All requests are reads of an immutable tree, so
repeating a call is always safe.
"""

from __future__ import annotations

from array import array
from bisect import bisect_left
from collections.abc import Iterable
from dataclasses import dataclass
from hashlib import blake2b

from storeboot.nfs.handle import HandleCodec, hash_digits, object_id, path_id
from storeboot.nfs.index import Index, Node, Texts, fileid, packed_kind, unpacked_kind
from storeboot.nfs.limits import LEASE_SECONDS
from storeboot.nfs.memo import Memo
from storeboot.nfs.status import Status

FLAT_DIRECTORY_NAME = b".flat"
INDEX_MEMORY = 64 << 20  # bytes for the names of the store paths that were asked for
VIEW_MEMORY = 32 << 20


class View:
    """An exact set of store paths, packed like an Index: a site has as many views as systems."""

    __slots__ = ("_kinds", "_missing", "_names", "_sizes", "_targets", "cost", "view_id")

    def __init__(
        self, view_id: bytes, tops: dict[bytes, Node], missing: Iterable[bytes] = ()
    ) -> None:
        """`tops` has the node of each store path, without its entries.

        `missing` are names of store paths that did not exist or could not be read. They are not
        listed, and are looked for again when a call asks for one.
        """
        names = sorted(tops)
        self._missing = {object_id(name): name for name in missing}
        nodes = [tops[name] for name in names]
        self.view_id = view_id
        self._names = Texts(names)
        self._kinds = bytes(map(packed_kind, nodes))
        self._sizes = array("Q", (node.size for node in nodes))
        self._targets = Texts(node.target for node in nodes)
        self.cost = 1000 + 9 * len(names) + self._names.cost + self._targets.cost  # roughly, bytes

    @property
    def names(self) -> tuple[bytes, ...]:
        """Return the base names of the store paths, sorted."""
        return tuple(self._names)

    def get(self, name: bytes) -> Node | None:
        """Return the node of a store path, or None."""
        number = bisect_left(self._names, name)
        if number == len(self._names) or self._names[number] != name:
            return None
        kind, executable = unpacked_kind(self._kinds[number])
        target = self._targets[number]
        return Node(kind, fileid(name, b""), self._sizes[number], executable, target)

    def by_object(self, identity: bytes) -> bytes | None:
        """Return the store path with this object id, or None."""
        digits = hash_digits(identity)
        number = bisect_left(self._names, digits)
        if number == len(self._names) or not self._names[number].startswith(digits):
            return self._missing.get(identity)
        return self._names[number]

    def misses(self, name: bytes) -> bool:
        """Return whether a store path belongs to the view and was missing when the view was
        read."""
        return name in self._missing.values()


@dataclass(frozen=True, slots=True)
class Lack:
    """A part of the store that cannot be read, and the status for calls that need it."""

    status: Status
    view: bytes | None = None  # the names of this view; or
    store_name: bytes | None = None  # those in this store path; or
    relative: bytes | None = None  # the data of this file in that store path


class NotLoadedError(Exception):
    """The answer needs a view, or a store path's index, that is not in the catalogue."""

    def __init__(self, view: bytes, store_name: bytes | None = None) -> None:
        super().__init__(view.hex(), store_name)
        self.view = view
        self.store_name = store_name

    def lack(self, status: Status = Status.STALE) -> Lack:
        """Return the lack with which to answer if this cannot be read."""
        if self.store_name is None:
            return Lack(status, view=self.view)
        return Lack(status, store_name=self.store_name)


class Catalogue:
    """What has been read of views and store paths, with a memory limit."""

    def __init__(self, codec: HandleCodec, lease: int = LEASE_SECONDS) -> None:
        self.codec = codec
        self.lease = lease  # seconds; an attribute of the file system in NFSv4
        self.views: Memo[View] = Memo(VIEW_MEMORY)
        self.indexes: Memo[Index] = Memo(INDEX_MEMORY)

    def add_view(self, view: View) -> None:
        """Add a view, so that calls find it."""
        self.views.put(view.view_id, view)

    def add_index(self, store_name: bytes, index: Index) -> None:
        """Add the index of a store path, so that calls find it."""
        self.indexes.put(store_name, index)

    def forget_index(self, store_name: bytes) -> None:
        """Forget a store path, so that it is read again when a call needs it."""
        self.indexes.drop(store_name)


def view_id(toplevels: Iterable[str]) -> bytes:
    """Return the id of the view of these toplevels: a hash of their sorted store paths."""
    text = "\n".join(sorted(set(toplevels)))
    return blake2b(text.encode(), digest_size=16, person=b"storeboot-view").digest()


def flat_name(store_name: bytes, relative: bytes) -> bytes:
    """Return a file's name in its view's flat directory: 68 hexadecimal digits."""
    return (object_id(store_name) + path_id(relative)).hex().encode()
