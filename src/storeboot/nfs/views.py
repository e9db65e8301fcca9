"""What a mount shows: views of closures, as names and attributes that somebody else has read.

A view is an exact, immutable set of store paths. The catalogue holds what has been read of views
and of store paths so far; asked for more it raises NotLoadedError, and whoever may do I/O loads
that and asks again. All requests are reads of an immutable tree, so asking again is always safe.
"""

from __future__ import annotations

from array import array
from bisect import bisect_left
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from hashlib import blake2b

from storeboot.nfs.handle import (
    OBJECT_SIZE,
    PATH_ID_SIZE,
    Handle,
    HandleCodec,
    Place,
    hash_digits,
    object_id,
    path_id,
)
from storeboot.nfs.index import Index, Kind, Node, Texts, fileid, packed_kind, unpacked_kind
from storeboot.nfs.limits import LEASE_SECONDS
from storeboot.nfs.memo import Memo
from storeboot.nfs.status import NfsError, Status
from storeboot.nfs.xdr import FileSlice

MAX_NAME = 255
VIEW_DIRECTORY_NAME = b"view"
FLAT_DIRECTORY_NAME = b".flat"
ALIAS_NAME = b"nixstore"
INDEX_MEMORY = 64 << 20  # bytes for the names of the store paths that were asked for
VIEW_MEMORY = 32 << 20


class View:
    """An exact set of store paths, packed as an Index is: a lab has as many views as systems."""

    __slots__ = ("_kinds", "_missing", "_names", "_sizes", "_targets", "cost", "view_id")

    def __init__(
        self, view_id: bytes, tops: dict[bytes, Node], missing: Iterable[bytes] = ()
    ) -> None:
        """`tops` has each store path's own node, of which its entries are left out.

        `missing` are names of store paths that were not there, or could not be read: they are not
        listed, and looked for again whenever somebody asks for one.
        """
        names = sorted(tops)
        self._missing = {object_id(name): name for name in missing}
        nodes = [tops[name] for name in names]
        self.view_id = view_id
        self._names = Texts(names)
        self._kinds = bytes(map(packed_kind, nodes))
        self._sizes = array("Q", (node.size for node in nodes))
        self._targets = Texts(node.target for node in nodes)
        self.cost = 1000 + 9 * len(names) + self._names.cost + self._targets.cost  # bytes, about

    @property
    def names(self) -> tuple[bytes, ...]:
        """Base names of the store paths, sorted."""
        return tuple(self._names)

    def get(self, name: bytes) -> Node | None:
        """What a store path is."""
        number = bisect_left(self._names, name)
        if number == len(self._names) or self._names[number] != name:
            return None
        kind, executable = unpacked_kind(self._kinds[number])
        target = self._targets[number]
        return Node(kind, fileid(name, b""), self._sizes[number], executable, target)

    def by_object(self, identity: bytes) -> bytes | None:
        """The store path with this object id."""
        digits = hash_digits(identity)
        number = bisect_left(self._names, digits)
        if number == len(self._names) or not self._names[number].startswith(digits):
            return self._missing.get(identity)
        return self._names[number]

    def misses(self, name: bytes) -> bool:
        """Whether a store path belongs to the view and was not there when that was read."""
        return name in self._missing.values()


class NotLoadedError(Exception):
    """The answer needs a view or a store path's index that is not in the catalogue.

    `status` is what the answer becomes when it is not to be had.
    """

    def __init__(self, view: bytes, store_name: bytes | None = None) -> None:
        super().__init__(view.hex(), store_name)
        self.view = view
        self.store_name = store_name
        self.status = Status.STALE


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

    def __init__(self, codec: HandleCodec, lease: int = LEASE_SECONDS) -> None:
        self.codec = codec
        self.lease = lease  # seconds; an attribute of the file system in NFSv4
        self._views: Memo[View] = Memo(VIEW_MEMORY)
        self._indexes: Memo[Index] = Memo(INDEX_MEMORY)
        self._gone: NotLoadedError | None = None
        self._unreadable: tuple[bytes, bytes, Status] | None = None
        self._shown = self._met_broken = False  # by the question that is being answered

    def add_view(self, view: View) -> None:
        self._views.put(view.view_id, view)

    def add_index(self, store_name: bytes, index: Index) -> None:
        self._indexes.put(store_name, index)

    def forget_index(self, store_name: bytes) -> None:
        """Have a store path read again when it is next asked for."""
        self._indexes.drop(store_name)

    def begin(self) -> None:
        """Another question is answered from here on, of which `shown` and `met_broken` tell."""
        self._shown = self._met_broken = False

    @property
    def shown(self) -> bool:
        """Whether the question showed a mount token, or a filehandle inside a view."""
        return self._shown

    @property
    def met_broken(self) -> bool:
        """Whether it met a place that could not be read, which may be mended later."""
        return self._met_broken

    @contextmanager
    def without(self, missing: NotLoadedError) -> Iterator[None]:
        """What was asked for is not to be had, by the questions asked meanwhile.

        It is not remembered, since a view that another server made may come to this one later.
        """
        self._gone = missing
        try:
            yield
        finally:
            self._gone = None

    @contextmanager
    def unreadable(self, data: FileSlice, status: Status) -> Iterator[None]:
        """READ of this file has that status, meanwhile."""
        self._unreadable = (data.store_path, data.relative, status)
        try:
            yield
        finally:
            self._unreadable = None

    def check_readable(self, entry: Entry) -> None:
        if self._unreadable is not None:
            store_name, relative, status = self._unreadable
            if (store_name, relative) == (entry.store_name, entry.relative):
                raise NfsError(status)

    @property
    def lacks_something(self) -> bool:
        """Whether answers may be other ones the next time."""
        return self._gone is not None or self._unreadable is not None

    def root(self) -> Entry:
        return _PSEUDO_ROOT

    def mount(self, token_text: bytes) -> Entry:
        """The root of the view that a token opens; NOENT for any other name."""
        token = self.codec.decode_token(token_text)
        if token is None:
            raise NfsError(Status.NOENT)
        self._shown = True
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
                self._shown = True
                return self._view_root(handle.view)
            case Place.FLAT_DIRECTORY:
                self._shown = True
                return self._flat_directory(handle.view)
            case Place.STORE_OBJECT:
                self._shown = True
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
                if name == FLAT_DIRECTORY_NAME:
                    return self._flat_directory(parent.handle.view)
                return self._top(self._view(parent.handle.view), name)
            case Place.FLAT_DIRECTORY:
                return self._flat(parent.handle.view, name)
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
            case Place.FLAT_DIRECTORY:
                return self._view_root(entry.handle.view)
            case Place.STORE_OBJECT:
                if not entry.relative:
                    return self._view_root(entry.handle.view)
                above = entry.relative.rpartition(b"/")[0]
                return self._at(entry.handle, entry.store_name, above)

    def names(self, entry: Entry) -> tuple[bytes, ...]:
        """A directory's entries, sorted: a position in it is a cookie that never goes bad."""
        if entry.node.kind is not Kind.DIRECTORY:
            raise NfsError(Status.NOTDIR)
        if entry.handle.place is Place.STORE_OBJECT:
            index = self._index(entry.handle.view, entry.store_name)
            self._check_whole(index, entry.relative)
            return index.names(entry.relative)
        if entry.handle.place is Place.VIEW_ROOT:
            return self._view(entry.handle.view).names
        return entry.node.names

    def _view(self, view_id: bytes) -> View:
        view = self._views.get(view_id)
        if view is not None:
            return view
        if self._gone is not None and (self._gone.view, self._gone.store_name) == (view_id, None):
            raise NfsError(self._gone.status)
        raise NotLoadedError(view_id)

    def _view_root(self, view_id: bytes) -> Entry:
        self._view(view_id)  # which has to be there
        number = int.from_bytes(view_id[:6], "big") | 0x100
        return Entry(Handle(Place.VIEW_ROOT, view_id), Node(Kind.DIRECTORY, number))

    def view_root(self, view_id: bytes) -> Entry:
        """The root of a view, for an address that need not show a token."""
        self._shown = True
        return self._view_root(view_id)

    def _flat_directory(self, view_id: bytes) -> Entry:
        """Every file of the view by a flat name, for overlayfs' redirects; it lists nothing."""
        number = int.from_bytes(view_id[6:12], "big") | 0x100
        return Entry(Handle(Place.FLAT_DIRECTORY, view_id), Node(Kind.DIRECTORY, number))

    def _flat(self, view_id: bytes, name: bytes) -> Entry:
        """A regular file by `flat_name`, one LOOKUP from the view's root."""
        try:
            raw = bytes.fromhex(name.decode("ascii"))
        except ValueError:
            raise NfsError(Status.NOENT) from None
        if len(raw) != OBJECT_SIZE + PATH_ID_SIZE or raw.hex().encode() != name:
            raise NfsError(Status.NOENT)
        object_part, path_part = raw[:OBJECT_SIZE], raw[OBJECT_SIZE:]
        if self._view(view_id).by_object(object_part) is None:
            raise NfsError(Status.NOENT)
        try:
            found = self._object(Handle(Place.STORE_OBJECT, view_id, object_part, path_part))
        except NfsError:
            raise NfsError(Status.NOENT) from None
        if found.node.kind is not Kind.REGULAR:
            raise NfsError(Status.NOENT)
        return found

    def _top(self, view: View, name: bytes) -> Entry:
        node = view.get(name)
        if node is None and view.misses(name):
            node = self._index(view.view_id, name).get(b"")
        if node is None:
            raise NfsError(Status.NOENT)
        handle = Handle(Place.STORE_OBJECT, view.view_id, object_id(name), path_id(b""))
        return Entry(handle, node, name)

    def _index(self, view_id: bytes, store_name: bytes) -> Index:
        index = self._indexes.get(store_name)
        if index is not None:
            return index
        if self._gone is not None and self._gone.store_name == store_name:
            raise NfsError(self._gone.status)
        raise NotLoadedError(view_id, store_name)

    def _object(self, handle: Handle) -> Entry:
        view = self._view(handle.view)
        store_name = view.by_object(handle.object_id)
        if store_name is None:
            raise NfsError(Status.STALE)
        index = self._index(handle.view, store_name)
        relative = index.relative(handle.path_id)
        node = None if relative is None else index.get(relative)
        if relative is None or node is None:
            raise NfsError(Status.STALE)
        return Entry(handle, node, store_name, relative)

    def _child(self, parent: Entry, name: bytes) -> Entry:
        relative = parent.relative + b"/" + name if parent.relative else name
        if b"/" in name or name in (b"", b".", b".."):
            raise NfsError(Status.NOENT)
        self._check_whole(self._index(parent.handle.view, parent.store_name), parent.relative)
        return self._at(parent.handle, parent.store_name, relative)

    def _check_whole(self, index: Index, relative: bytes) -> None:
        """Raise IO for a place that could not be read; its siblings are not concerned."""
        if relative in index.broken:
            self._met_broken = True
            raise NfsError(Status.IO)

    def _at(self, near: Handle, store_name: bytes, relative: bytes) -> Entry:
        index = self._index(near.view, store_name)
        node = index.get(relative)
        if node is None:
            self._check_whole(index, relative)
            raise NfsError(Status.NOENT)
        handle = Handle(Place.STORE_OBJECT, near.view, near.object_id, path_id(relative))
        return Entry(handle, node, store_name, relative)


def view_id(toplevels: Iterable[str]) -> bytes:
    """The name of the view of these toplevels: a hash of their sorted store paths."""
    text = "\n".join(sorted(set(toplevels)))
    return blake2b(text.encode(), digest_size=16, person=b"storeboot-view").digest()


def flat_name(store_name: bytes, relative: bytes) -> bytes:
    """The name of a file in its view's flat directory: 68 hexadecimal digits."""
    return (object_id(store_name) + path_id(relative)).hex().encode()
