"""The file system that both protocols serve, as one call walks through it."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from storeboot.nfs.handle import (
    OBJECT_SIZE,
    PATH_ID_SIZE,
    Handle,
    Place,
    object_id,
    path_id,
)
from storeboot.nfs.index import Index, Kind, Node
from storeboot.nfs.refusal import OF_VIEW, Refusal
from storeboot.nfs.status import NfsError, Status
from storeboot.nfs.views import FLAT_DIRECTORY_NAME, Catalogue, Lack, NotLoadedError, View

MAX_NAME = 255
VIEW_DIRECTORY_NAME = b"view"
ALIAS_NAME = b"nixstore"


@dataclass(frozen=True, slots=True)
class Entry:
    """A node and its place; `Walk.raw` returns its filehandle."""

    handle: Handle
    node: Node
    store_name: bytes = b""
    relative: bytes = b""


_PSEUDO_ROOT = Entry(
    Handle(Place.PSEUDO_ROOT), Node(Kind.DIRECTORY, 1, names=(VIEW_DIRECTORY_NAME,))
)
_VIEW_DIRECTORY = Entry(Handle(Place.VIEW_DIRECTORY), Node(Kind.DIRECTORY, 2))


class Walk:
    """Answers one call from the catalogue, and records what the call has met.

    Methods raise NfsError with the status of the reply, and NotLoadedError if more of the store
    must be read before the call is repeated. For what cannot be read (`lack`), they raise NfsError
    with the lack's status instead.
    """

    __slots__ = ("_codec", "_indexes", "_lack", "_views", "lease", "met_broken", "refusal", "shown")

    def __init__(self, catalogue: Catalogue, lack: Lack | None = None) -> None:
        self._codec = catalogue.codec
        self._views = catalogue.views
        self._indexes = catalogue.indexes
        self._lack = lack
        self.lease = catalogue.lease  # seconds
        self.shown = False  # whether the call showed a mount token, or a filehandle inside a view
        self.met_broken = False  # whether it met an unreadable place, which may be repaired later

        self.refusal: Refusal | None = None  # why a mount was refused

    def root(self) -> Entry:
        """Return the root of the pseudo file system (RFC 8881 section 7.3)."""
        return _PSEUDO_ROOT

    def mount(self, token_text: bytes) -> Entry:
        """Return the root of the view for a mount token."""
        token = self._codec.decode_token(token_text)
        if token is None:
            raise self.refused(Refusal.TOKEN)
        return self.view_root(token.view)

    def view_root(self, view_id: bytes) -> Entry:
        """Return the root of a view, for an address that need not show a token."""
        self.shown = True
        try:
            return self._view_root(view_id)
        except NfsError as error:
            raise self.refused(OF_VIEW.get(error.status, Refusal.UNREADABLE)) from None

    def refused(self, refusal: Refusal) -> NfsError:
        """Note why a mount is refused; return the error to raise."""
        self.refusal = refusal
        return NfsError(refusal.status)

    def resolve(self, raw: bytes) -> Entry:
        """Return the place of a filehandle from the wire."""
        handle = self._codec.decode(raw)
        match handle.place:
            case Place.PSEUDO_ROOT:
                return _PSEUDO_ROOT
            case Place.VIEW_DIRECTORY:
                return _VIEW_DIRECTORY
            case Place.VIEW_ROOT:
                self.shown = True
                return self._view_root(handle.view)
            case Place.FLAT_DIRECTORY:
                self.shown = True
                return self._flat_directory(handle.view)
            case Place.STORE_OBJECT:
                self.shown = True
                return self._object(handle)

    def raw(self, entry: Entry) -> bytes:
        """Return the filehandle of a place, for the wire."""
        return self._codec.encode(entry.handle)

    def lookup(self, parent: Entry, name: bytes) -> Entry:
        """Take one step down. The protocols themselves handle `.` and `..`."""
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
        """Take one step up, never out of the view; raise NOENT above the pseudo root."""
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
        """Return a directory's entries, sorted, so that a position is a cookie that never
        expires."""
        if entry.node.kind is not Kind.DIRECTORY:
            raise NfsError(Status.NOTDIR)
        if entry.handle.place is Place.STORE_OBJECT:
            index = self._index(entry.handle.view, entry.store_name)
            self._check_whole(index, entry.relative)
            return index.names(entry.relative)
        if entry.handle.place is Place.VIEW_ROOT:
            return self._view(entry.handle.view).names
        return entry.node.names

    def children(self, directory: Entry, start: int = 0) -> Iterator[Entry]:
        """Yield the entries that `names` lists, from a position on; faster than single look-ups."""
        if directory.handle.place is not Place.STORE_OBJECT:
            for name in self.names(directory)[start:]:
                yield self.lookup(directory, name)
            return
        view, parent = directory.handle.view, directory.handle.object_id
        index, store_name = self._index(view, directory.store_name), directory.store_name
        for relative, node in index.children(directory.relative, start):
            handle = Handle(Place.STORE_OBJECT, view, parent, path_id(relative))
            yield Entry(handle, node, store_name, relative)

    def check_readable(self, entry: Entry) -> None:
        """Raise if the data of a file is known to be unreadable."""
        lack, file = self._lack, (entry.store_name, entry.relative)
        if lack is not None and (lack.store_name, lack.relative) == file:
            raise NfsError(lack.status)

    def _view(self, view_id: bytes) -> View:
        view = self._views.get(view_id)
        if view is not None:
            return view
        if self._lack is not None and self._lack.view == view_id:
            raise NfsError(self._lack.status)
        raise NotLoadedError(view_id)

    def _index(self, view_id: bytes, store_name: bytes) -> Index:
        index = self._indexes.get(store_name)
        if index is not None:
            return index
        lack = self._lack
        if lack is not None and lack.store_name == store_name and lack.relative is None:
            raise NfsError(lack.status)
        raise NotLoadedError(view_id, store_name)

    def _view_root(self, view_id: bytes) -> Entry:
        self._view(view_id)  # raises unless it exists
        number = int.from_bytes(view_id[:6], "big") | 0x100
        return Entry(Handle(Place.VIEW_ROOT, view_id), Node(Kind.DIRECTORY, number))

    def _flat_directory(self, view_id: bytes) -> Entry:
        """Return the directory with every file of the view by a flat name, for overlayfs'
        redirects.

        It can be looked up in, but lists nothing.
        """
        number = int.from_bytes(view_id[6:12], "big") | 0x100
        return Entry(Handle(Place.FLAT_DIRECTORY, view_id), Node(Kind.DIRECTORY, number))

    def _flat(self, view_id: bytes, name: bytes) -> Entry:
        """Return a regular file by its `flat_name`, one LOOKUP from the view's root."""
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

    def _object(self, handle: Handle) -> Entry:
        view = self._view(handle.view)
        store_name = view.by_object(handle.object_id)
        if store_name is None:
            raise NfsError(Status.STALE)
        index = self._index(handle.view, store_name)
        found = index.find(handle.path_id)
        if found is None:
            raise NfsError(Status.STALE)
        relative, node = found
        return Entry(handle, node, store_name, relative)

    def _child(self, parent: Entry, name: bytes) -> Entry:
        relative = parent.relative + b"/" + name if parent.relative else name
        if b"/" in name or name in (b"", b".", b".."):
            raise NfsError(Status.NOENT)
        self._check_whole(self._index(parent.handle.view, parent.store_name), parent.relative)
        return self._at(parent.handle, parent.store_name, relative)

    def _check_whole(self, index: Index, relative: bytes) -> None:
        """Raise IO for a place that could not be read. Its siblings are not affected."""
        if relative in index.broken:
            self.met_broken = True
            raise NfsError(Status.IO)

    def _at(self, near: Handle, store_name: bytes, relative: bytes) -> Entry:
        index = self._index(near.view, store_name)
        node = index.get(relative)
        if node is None:
            self._check_whole(index, relative)
            raise NfsError(Status.NOENT)
        handle = Handle(Place.STORE_OBJECT, near.view, near.object_id, path_id(relative))
        return Entry(handle, node, store_name, relative)
