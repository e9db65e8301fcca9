"""What a machine must find in a closure, computed on the server."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterable
from pathlib import Path

from storeboot.nix.store import STORE_DIR, Store, StorePath
from storeboot.pack.tree import inodes


def closure_attributes(store: Store, paths: Iterable[str]) -> dict[bytes, str]:
    """Return mode, owner, group, size, mtime and link target of every inode, by logical path."""
    attributes = {}
    for inode in inodes(store, map(StorePath, paths)):
        size = "-" if inode.is_directory else str(inode.size or len(inode.target))
        words = (f"{inode.mode:x}", "0", "0", size, str(inode.mtime), os.fsdecode(inode.target))
        attributes[os.fsencode(STORE_DIR) + b"/" + inode.path] = " ".join(words)
    return attributes


def closure_hashes(store: Store, paths: Iterable[str]) -> dict[bytes, str]:
    """Return the SHA-256 of every regular file, by logical path."""
    hashes = {}
    for text in paths:
        base = store.physical(StorePath(text))
        for file in _regular_files(base):
            logical = os.fsencode(text) + os.fsencode(file)[len(os.fsencode(base)) :]
            with file.open("rb") as stream:
                hashes[logical] = hashlib.file_digest(stream, "sha256").hexdigest()
    return hashes


def _regular_files(base: Path) -> Iterable[Path]:
    if not base.is_dir():
        if base.is_file() and not base.is_symlink():
            yield base
        return
    for directory, _, names in os.walk(base):
        for name in names:
            file = Path(directory, name)
            if not file.is_symlink():
                yield file
