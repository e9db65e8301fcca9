"""Reads views and store paths from the disk into the form that the NFS core serves."""

from __future__ import annotations

import errno
import os
import stat
from dataclasses import replace

from storeboot.deploy.state import StateDirectory
from storeboot.errors import DamagedError
from storeboot.nfs.index import Index, Kind, Node, fileid
from storeboot.nfs.views import NotLoadedError, View
from storeboot.nix.store import Store


class StoreTree:
    """Blocking reads of one store; called in a thread."""

    def __init__(self, store: Store, state: StateDirectory) -> None:
        self._store = store
        self._directory = os.fsencode(store.directory)
        self._state = state

    def path(self, store_name: bytes, relative: bytes) -> bytes:
        """Where a file is on this disk."""
        base = self._directory + b"/" + store_name
        return base + b"/" + relative if relative else base

    def load(self, missing: NotLoadedError) -> View | Index | None:
        """What was asked for; None when the view is unknown or the path is gone."""
        if missing.store_name is None:
            return self._view(missing.view)
        try:
            return self._index(missing.store_name)
        except FileNotFoundError:
            return None

    def _view(self, view: bytes) -> View | None:
        try:
            record = self._state.mended_view(self._store, view.hex())
        except DamagedError as error:  # not unknown: its machines wait until it is restored
            raise OSError(errno.EIO, error.message) from None
        if record is None:
            return None
        tops = {}
        for text in record.paths:
            name = text.rpartition("/")[2].encode()
            try:
                node = self._node(name, b"")
            except FileNotFoundError:
                return None
            if node is not None:
                tops[name] = node
        return View(view, tops)

    def _index(self, store_name: bytes) -> Index:
        nodes: dict[bytes, Node] = {}
        pending = [b""]
        while pending:
            relative = pending.pop()
            node = self._node(store_name, relative)
            if node is None:
                continue
            if node.kind is Kind.DIRECTORY:
                names = sorted(os.listdir(self.path(store_name, relative)))  # noqa: PTH208 (names are bytes here)
                node = Node(node.kind, node.fileid, names=tuple(names))
                pending += [_join(relative, name) for name in names]
            nodes[relative] = node
        return Index(store_name, _without_strays(nodes))

    def _node(self, store_name: bytes, relative: bytes) -> Node | None:
        """None for what a store does not hold, like a stray socket: it is simply not served."""
        path = self.path(store_name, relative)
        found = os.lstat(path)
        number = fileid(store_name, relative)
        if stat.S_ISDIR(found.st_mode):
            return Node(Kind.DIRECTORY, number)
        if stat.S_ISLNK(found.st_mode):
            target = os.readlink(path)  # noqa: PTH115 (names are bytes here)
            return Node(Kind.SYMLINK, number, size=len(target), target=target)
        if stat.S_ISREG(found.st_mode):
            executable = bool(found.st_mode & stat.S_IXUSR)
            return Node(Kind.REGULAR, number, size=found.st_size, executable=executable)
        return None


def _without_strays(nodes: dict[bytes, Node]) -> dict[bytes, Node]:
    """Directories list only what has a node."""
    return {
        relative: replace(node, names=tuple(n for n in node.names if _join(relative, n) in nodes))
        if node.names
        else node
        for relative, node in nodes.items()
    }


def _join(relative: bytes, name: bytes) -> bytes:
    return relative + b"/" + name if relative else name


class OpenFiles:
    """Descriptors of files that were read lately, the oldest closed first."""

    def __init__(self, tree: StoreTree, limit: int = 512) -> None:
        self._tree = tree
        self._limit = limit
        self._open: dict[tuple[bytes, bytes], int] = {}

    def descriptor(self, store_name: bytes, relative: bytes) -> int:
        key = (store_name, relative)
        descriptor = self._open.pop(key, None)
        if descriptor is None:
            flags = os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW
            descriptor = os.open(self._tree.path(store_name, relative), flags)
            while len(self._open) >= self._limit:
                os.close(self._open.pop(next(iter(self._open))))
        self._open[key] = descriptor
        return descriptor

    def close(self) -> None:
        for descriptor in self._open.values():
            os.close(descriptor)
        self._open.clear()
