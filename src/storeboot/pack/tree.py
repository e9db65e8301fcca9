"""What a pack has of a closure: every inode, as `lstat` sees it."""

from __future__ import annotations

import os
import stat
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

from storeboot.nix.store import Store, StorePath


@dataclass(frozen=True, slots=True)
class Inode:
    """A directory, a regular file or a symlink of the store; others do not occur in one."""

    path: bytes  # below the store directory: `<hash>-<name>/…`
    mode: int  # with the type, as in stat(2)
    size: int  # bytes; of a file
    mtime: int  # seconds since 1970
    target: bytes = b""  # of a symlink

    @property
    def below(self) -> tuple[bytes, bytes]:
        """Base name of its store path, and the path inside that."""
        name, _, relative = self.path.partition(b"/")
        return name, relative

    @property
    def is_directory(self) -> bool:
        return stat.S_ISDIR(self.mode)

    @property
    def is_symlink(self) -> bool:
        return stat.S_ISLNK(self.mode)

    @property
    def is_file(self) -> bool:
        return stat.S_ISREG(self.mode)


def inodes(store: Store, paths: Iterable[StorePath]) -> Iterator[Inode]:
    """Parents before children, names in the order of their bytes: it is the same each time."""
    for path in sorted(paths, key=lambda path: path.base_name):
        yield from _below(store.directory, path.base_name)


def _below(base: Path, name: str) -> Iterator[Inode]:
    pending = [name]
    while pending:
        path = pending.pop()
        place = base / path
        found = place.lstat()
        yield Inode(
            path=os.fsencode(path),
            mode=found.st_mode,
            size=found.st_size if stat.S_ISREG(found.st_mode) else 0,
            mtime=int(found.st_mtime),
            target=os.fsencode(place.readlink()) if stat.S_ISLNK(found.st_mode) else b"",
        )
        if stat.S_ISDIR(found.st_mode):
            names = sorted((os.fsencode(child.name) for child in place.iterdir()), reverse=True)
            pending += [f"{path}/{os.fsdecode(name)}" for name in names]
