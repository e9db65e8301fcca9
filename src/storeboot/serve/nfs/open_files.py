"""Keeps files of the store open that were read recently."""

from __future__ import annotations

import os

from storeboot.nfs.xdr import FileSlice
from storeboot.serve.nfs.store_tree import StoreTree


class OpenFiles:
    """Descriptors of open files. The one that was unused longest is closed first.

    Each was a regular file of the size that the reply promises when it was opened.
    """

    def __init__(self, tree: StoreTree, limit: int) -> None:
        self._tree = tree
        self._limit = limit
        self._open: dict[tuple[bytes, bytes, int], int] = {}
        # What `has` found last: its descriptor is nearly always the next one asked for.
        self._found: FileSlice | None = None
        self._found_descriptor = -1

    def has(self, data: FileSlice) -> bool:
        """Return whether a file can be read without opening it."""
        key = (data.store_path, data.relative, data.size)
        descriptor = self._open.pop(key, None)
        if descriptor is None:
            return False
        self._open[key] = descriptor
        self._found, self._found_descriptor = data, descriptor
        return True

    def descriptor(self, data: FileSlice) -> int:
        """Return the descriptor of a file, valid until the next call; open it, blocking, if
        necessary."""
        if data is not self._found and not self.has(data):
            self.keep(data, self._tree.open(data.store_path, data.relative, data.size))
        return self._found_descriptor

    def keep(self, data: FileSlice, descriptor: int) -> None:
        """Take over a descriptor that `StoreTree.open` has opened."""
        key = (data.store_path, data.relative, data.size)
        known = self._open.pop(key, None)
        if known is not None:
            os.close(known)
        while len(self._open) >= self._limit:
            self._close_oldest()
        self._open[key] = descriptor
        self._found, self._found_descriptor = data, descriptor

    def shrink(self) -> bool:
        """Close half of the files; return whether there were any."""
        half = (len(self._open) + 1) // 2
        for _ in range(half):
            self._close_oldest()
        return half > 0

    def close(self) -> None:
        while self._open:
            self._close_oldest()

    def _close_oldest(self) -> None:
        self._found = None
        os.close(self._open.pop(next(iter(self._open))))
