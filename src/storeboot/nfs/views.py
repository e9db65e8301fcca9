"""What a mount shows: views of closures, as names and attributes that somebody else has read.

A view is an exact, immutable set of store paths. The catalogue holds what has been read of views
and of store paths so far; asked for more it raises NotLoadedError, and whoever may do I/O loads
that and asks again. All requests are reads of an immutable tree, so asking again is always safe.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from enum import IntEnum
from hashlib import blake2b

from storeboot.nfs.handle import Handle, HandleCodec, Place, object_id, path_id
from storeboot.nfs.status import NfsError, Status

MAX_NAME = 255
VIEW_DIRECTORY_NAME = b"view"
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


@dataclass(frozen=True, slots=True)
class Index:
    """Everything inside one store path; keys are paths relative to it, b"" is itself."""

    nodes: dict[bytes, Node]
    by_id: dict[bytes, bytes]

    @classmethod
    def of(cls, nodes: dict[bytes, Node]) -> Index:
        by_id = {path_id(relative): relative for relative in nodes}
        if len(by_id) != len(nodes):
            raise ValueError("two paths of one store path share a path id")
        return cls(nodes, by_id)


@dataclass(frozen=True, slots=True)
class View:
    """An exact set of store paths; `tops` has each one's own node, without entries."""

    view_id: bytes
    tops: dict[bytes, Node]  # by base name
    names: tuple[bytes, ...] = field(init=False)
    by_object: dict[bytes, bytes] = field(init=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "names", tuple(sorted(self.tops)))
        object.__setattr__(self, "by_object", {object_id(name): name for name in self.tops})


def fileid(store_name: bytes, relative: bytes) -> int:
    """48 bits that name a place, the same on every server."""
    digest = blake2b(store_name + b"/" + relative, digest_size=6).digest()
    return int.from_bytes(digest, "big") | 0x100  # never one of the pseudo file system's


class NotLoadedError(Exception):
    """The answer needs a view or a store path's index that is not in the catalogue."""

    def __init__(self, view: bytes, store_name: bytes | None = None) -> None:
        super().__init__(view.hex(), store_name)
        self.view = view
        self.store_name = store_name


@dataclass(frozen=True, slots=True)
class Entry:
    """A node and where it is; `raw` is its filehandle."""

    handle: Handle
    node: Node
    store_name: bytes = b""
    relative: bytes = b""


_PSEUDO_ROOT = Entry(
    Handle(Place.PSEUDO_ROOT), Node(Kind.DIRECTORY, 1, names=(VIEW_DIRECTORY_NAME,))
)
_VIEW_DIRECTORY = Entry(Handle(Place.VIEW_DIRECTORY), Node(Kind.DIRECTORY, 2))


class Catalogue:
    """The file system that both protocols serve."""

    def __init__(self, codec: HandleCodec) -> None:
        self.codec = codec
        self._views: dict[bytes, View] = {}
        self._indexes: dict[bytes, Index] = {}
        self._absent: set[bytes] = set()

    def add_view(self, view: View) -> None:
        self._views[view.view_id] = view
        self._absent.discard(view.view_id)

    def add_index(self, store_name: bytes, index: Index) -> None:
        self._indexes[store_name] = index
        self._absent.discard(store_name)

    def set_absent(self, missing: NotLoadedError) -> None:
        """What was asked for is not to be had: STALE from now on, until it is added.

        Only authentic handles and tokens come this far, so a peer cannot fill the set.
        """
        self._absent.add(missing.view if missing.store_name is None else missing.store_name)

    def root(self) -> Entry:
        return _PSEUDO_ROOT

    def mount(self, token_text: bytes) -> Entry:
        """The root of the view that a token opens; NOENT for any other name."""
        token = self.codec.decode_token(token_text)
        if token is None:
            raise NfsError(Status.NOENT)
        return self._view_root(token.view)

    def resolve(self, raw: bytes) -> Entry:
        """The place of a filehandle as it came over the wire."""
        handle = self.codec.decode(raw)
        match handle.place:
            case Place.PSEUDO_ROOT:
                return _PSEUDO_ROOT
            case Place.VIEW_DIRECTORY:
                return _VIEW_DIRECTORY
            case Place.VIEW_ROOT:
                return self._view_root(handle.view)
            case Place.STORE_OBJECT:
                return self._object(handle)

    def raw(self, entry: Entry) -> bytes:
        """The filehandle of a place, as it goes over the wire."""
        return self.codec.encode(entry.handle)

    def lookup(self, parent: Entry, name: bytes) -> Entry:
        """One step down; `.` and `..` are the protocols' own affair."""
        if parent.node.kind is not Kind.DIRECTORY:
            raise NfsError(Status.NOTDIR)
        if len(name) > MAX_NAME:
            raise NfsError(Status.NAMETOOLONG)
        match parent.handle.place:
            case Place.PSEUDO_ROOT:
                if name == VIEW_DIRECTORY_NAME:
                    return _VIEW_DIRECTORY
                raise NfsError(Status.NOENT)
            case Place.VIEW_DIRECTORY:
                return self.mount(name)
            case Place.VIEW_ROOT:
                return self._top(self._view(parent.handle.view), name)
            case Place.STORE_OBJECT:
                return self._child(parent, name)

    def parent(self, entry: Entry) -> Entry:
        """One step up, never out of the view; NOENT above the pseudo root."""
        match entry.handle.place:
            case Place.PSEUDO_ROOT:
                raise NfsError(Status.NOENT)
            case Place.VIEW_DIRECTORY:
                return _PSEUDO_ROOT
            case Place.VIEW_ROOT:
                return _VIEW_DIRECTORY
            case Place.STORE_OBJECT:
                if not entry.relative:
                    return self._view_root(entry.handle.view)
                above = entry.relative.rpartition(b"/")[0]
                return self._at(entry.handle, entry.store_name, above)

    def names(self, entry: Entry) -> tuple[bytes, ...]:
        """A directory's entries, sorted: a position in it is a cookie that never goes bad."""
        if entry.node.kind is not Kind.DIRECTORY:
            raise NfsError(Status.NOTDIR)
        if entry.handle.place is Place.STORE_OBJECT and not entry.relative:
            return self._index(entry.handle.view, entry.store_name).nodes[b""].names
        return entry.node.names

    def _view(self, view_id: bytes) -> View:
        view = self._views.get(view_id)
        if view is not None:
            return view
        if view_id in self._absent:
            raise NfsError(Status.STALE)
        raise NotLoadedError(view_id)

    def _view_root(self, view_id: bytes) -> Entry:
        view = self._view(view_id)
        number = int.from_bytes(view_id[:6], "big") | 0x100
        node = Node(Kind.DIRECTORY, number, names=view.names)
        return Entry(Handle(Place.VIEW_ROOT, view_id), node)

    def _top(self, view: View, name: bytes) -> Entry:
        node = view.tops.get(name)
        if node is None:
            raise NfsError(Status.NOENT)
        handle = Handle(Place.STORE_OBJECT, view.view_id, object_id(name), path_id(b""))
        return Entry(handle, node, name)

    def _index(self, view_id: bytes, store_name: bytes) -> Index:
        index = self._indexes.get(store_name)
        if index is not None:
            return index
        if store_name in self._absent:
            raise NfsError(Status.STALE)
        raise NotLoadedError(view_id, store_name)

    def _object(self, handle: Handle) -> Entry:
        view = self._view(handle.view)
        store_name = view.by_object.get(handle.object_id)
        if store_name is None:
            raise NfsError(Status.STALE)
        index = self._index(handle.view, store_name)
        relative = index.by_id.get(handle.path_id)
        if relative is None:
            raise NfsError(Status.STALE)
        return Entry(handle, index.nodes[relative], store_name, relative)

    def _child(self, parent: Entry, name: bytes) -> Entry:
        relative = parent.relative + b"/" + name if parent.relative else name
        if b"/" in name or name in (b"", b".", b".."):
            raise NfsError(Status.NOENT)
        return self._at(parent.handle, parent.store_name, relative)

    def _at(self, near: Handle, store_name: bytes, relative: bytes) -> Entry:
        node = self._index(near.view, store_name).nodes.get(relative)
        if node is None:
            raise NfsError(Status.NOENT)
        handle = Handle(Place.STORE_OBJECT, near.view, near.object_id, path_id(relative))
        return Entry(handle, node, store_name, relative)


def view_id(toplevels: Iterable[str]) -> bytes:
    """The name of the view of these toplevels: a hash of their sorted store paths."""
    text = "\n".join(sorted(set(toplevels)))
    return blake2b(text.encode(), digest_size=16, person=b"storeboot-view").digest()
