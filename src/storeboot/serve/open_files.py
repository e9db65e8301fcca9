"""Files of the store that were read lately, kept open."""

from __future__ import annotations

import os

from storeboot.nfs.xdr import FileSlice
from storeboot.serve.store_tree import StoreTree


class OpenFiles:
    """Descriptors of files, the longest unused closed first.

    Each was a regular file of the size that the reply promises when it was opened.
    """

    def __init__(self, tree: StoreTree, limit: int) -> None:
        self._tree = tree
        self._limit = limit
        self._open: dict[tuple[bytes, bytes, int], int] = {}

    def has(self, data: FileSlice) -> bool:
        """Whether a file can be read without opening it."""
        return (data.store_path, data.relative, data.size) in self._open

    def descriptor(self, data: FileSlice) -> int:
        """The descriptor of a file, good until the next call; a closed one is opened, blocking."""
        key = (data.store_path, data.relative, data.size)
        descriptor = self._open.pop(key, None)
        if descriptor is None:
            descriptor = self._tree.open(*key)
            self.keep(data, descriptor)
        else:
            self._open[key] = descriptor
        return descriptor

    def keep(self, data: FileSlice, descriptor: int) -> None:
        """Take over a descriptor that `StoreTree.open` has opened."""
        key = (data.store_path, data.relative, data.size)
        known = self._open.pop(key, None)
        if known is not None:
            os.close(known)
        while len(self._open) >= self._limit:
            self._close_oldest()
        self._open[key] = descriptor

    def shrink(self) -> bool:
        """Give half of the descriptors back; whether there were any."""
        half = (len(self._open) + 1) // 2
        for _ in range(half):
            self._close_oldest()
        return half > 0

    def close(self) -> None:
        while self._open:
            self._close_oldest()

    def _close_oldest(self) -> None:
        os.close(self._open.pop(next(iter(self._open))))
