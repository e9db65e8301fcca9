"""Reads views and store paths from disk, in the form that the NFS core serves.

Directories are read, and files opened, step by step from the store directory, so that nothing
outside a store path is ever served, even if something is replaced by a link in the meantime
(`beneath.py`). If something cannot be read, only that is left out; its siblings are served.
"""

from __future__ import annotations

import errno
import os
import stat

from storeboot.deploy.state import StateDirectory
from storeboot.errors import DamagedError
from storeboot.files import PASSING
from storeboot.nfs.index import Index, Kind, Node, fileid
from storeboot.nfs.views import NotLoadedError, View
from storeboot.nix.beneath import DIRECTORY, FILE, open_beneath, opened
from storeboot.nix.store import Store


class StoreTree:
    """Blocking reads from one store, for use in a thread."""

    def __init__(self, store: Store, state: StateDirectory) -> None:
        self._store = store
        self._directory = os.fsencode(store.directory)
        self._state = state

    def load(self, missing: NotLoadedError) -> View | Index | None:
        """Return the view or index; None if the view is unknown or the store path is gone."""
        if missing.store_name is None:
            return self._view(missing.view)
        return self._index(missing.store_name)

    def open(self, store_name: bytes, relative: bytes, size: int) -> int:
        """Return a descriptor of a regular file, which must have the size that it had when indexed.

        Its inode number may differ: `nix store optimise` replaces equal files by links to one of
        them.
        """
        path = store_name + b"/" + relative if relative else store_name
        with opened(self._directory) as store:
            descriptor = open_beneath(store, path, FILE)
        try:
            found = os.fstat(descriptor)
            if not stat.S_ISREG(found.st_mode):
                raise OSError(errno.EIO, "it is not a regular file any more")
            if found.st_size != size:
                raise OSError(errno.EIO, f"it has {found.st_size} bytes instead of {size}")
        except OSError:
            os.close(descriptor)
            raise
        return descriptor

    def _view(self, view: bytes) -> View | None:
        try:
            record = self._state.views.mended(self._store, view.hex())
        except DamagedError as error:  # not unknown: its machines wait until it is restored
            raise OSError(errno.EIO, error.message) from None
        if record is None:
            return None
        tops, missing = {}, []
        with opened(self._directory) as store:
            for text in record.paths:
                name = text.rpartition("/")[2].encode()
                try:
                    node = _node(store, name, name, b"")
                except OSError as error:
                    if error.errno in PASSING:
                        raise
                    missing.append(name)
                else:
                    if node is not None:
                        tops[name] = node
        return View(view, tops, missing)

    def _index(self, store_name: bytes) -> Index | None:
        with opened(self._directory) as store:
            try:
                top = _node(store, store_name, store_name, b"")
            except FileNotFoundError:
                return None
            nodes = {} if top is None else {b"": top}
            broken: set[bytes] = set()
            pending = [b""] if top is not None and top.kind is Kind.DIRECTORY else []
            while pending:
                relative = pending.pop()
                path = store_name + b"/" + relative if relative else store_name
                try:
                    pending += _list(store, path, store_name, relative, nodes, broken)
                except OSError as error:
                    if error.errno in PASSING:
                        raise
                    broken.add(relative)
        return Index(store_name, nodes, frozenset(broken))


def _list(
    store: int,
    path: bytes,
    store_name: bytes,
    relative: bytes,
    nodes: dict[bytes, Node],
    broken: set[bytes],
) -> list[bytes]:
    """Add the entries of a directory to `nodes`; return the directories among them."""
    descriptor = open_beneath(store, path, DIRECTORY)
    below = []
    try:
        names = [os.fsencode(name) for name in os.listdir(descriptor)]  # noqa: PTH208 (by descriptor)
        for name in names:
            place = relative + b"/" + name if relative else name
            try:
                node = _node(descriptor, name, store_name, place)
            except FileNotFoundError:
                continue  # removed since the names were read
            except OSError as error:
                if error.errno in PASSING:
                    raise
                broken.add(place)
                continue
            if node is not None:
                nodes[place] = node
                if node.kind is Kind.DIRECTORY:
                    below.append(place)
    finally:
        os.close(descriptor)
    nodes[relative] = Node(Kind.DIRECTORY, fileid(store_name, relative), names=tuple(sorted(names)))
    return below


def _node(directory: int, name: bytes, store_name: bytes, relative: bytes) -> Node | None:
    """Return a node, or None for what does not belong in a store, such as a stray socket."""
    found = os.stat(name, dir_fd=directory, follow_symlinks=False)
    number = fileid(store_name, relative)
    if stat.S_ISDIR(found.st_mode):
        return Node(Kind.DIRECTORY, number)
    if stat.S_ISLNK(found.st_mode):
        target = os.readlink(name, dir_fd=directory)
        return Node(Kind.SYMLINK, number, size=len(target), target=target)
    if stat.S_ISREG(found.st_mode):
        executable = bool(found.st_mode & stat.S_IXUSR)
        return Node(Kind.REGULAR, number, size=found.st_size, executable=executable)
    return None
