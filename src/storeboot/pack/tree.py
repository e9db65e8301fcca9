"""What a pack has of a closure: every inode, as `lstat` returns it."""

from __future__ import annotations

import os
import stat
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

from storeboot.nix.beneath import DIRECTORY, open_beneath, opened
from storeboot.nix.store import Store, StorePath


@dataclass(frozen=True, slots=True)
class Inode:
    """A directory, regular file or symlink of the store, which contains no others."""

    path: bytes  # below the store directory: `<hash>-<name>/…`
    mode: int  # with the type, as in stat(2)
    size: int  # bytes; of a file
    mtime: int  # seconds since 1970
    target: bytes = b""  # of a symlink

    @property
    def below(self) -> tuple[bytes, bytes]:
        """Return the base name of its store path, and the path inside that."""
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
    """Yield all inodes in a fixed order: parents before children, names in byte order."""
    for path in sorted(paths, key=lambda path: path.base_name):
        yield from _below(store.directory, path.base_name)


def _below(base: Path, name: str) -> Iterator[Inode]:
    """Walk by descriptors, so that a directory that is swapped for a link is not entered."""
    with opened(os.fsencode(base)) as top:
        pending = [_inode(top, os.fsencode(name), os.fsencode(name))]
        while pending:
            inode = pending.pop()
            yield inode
            if inode.is_directory:
                pending += _children(top, inode.path)


def _children(top: int, path: bytes) -> list[Inode]:
    """Return the entries of a directory, the last name first."""
    directory = open_beneath(top, path, DIRECTORY)
    try:
        names = sorted(map(os.fsencode, os.listdir(directory)), reverse=True)  # noqa: PTH208
        return [_inode(directory, name, path + b"/" + name) for name in names]
    finally:
        os.close(directory)


def _inode(directory: int, name: bytes, path: bytes) -> Inode:
    found = os.stat(name, dir_fd=directory, follow_symlinks=False)
    is_link = stat.S_ISLNK(found.st_mode)
    return Inode(
        path=path,
        mode=found.st_mode,
        size=found.st_size if stat.S_ISREG(found.st_mode) else 0,
        mtime=int(found.st_mtime),
        target=os.readlink(name, dir_fd=directory) if is_link else b"",
    )
