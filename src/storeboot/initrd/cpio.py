"""Archives in cpio's "newc" format, as the kernel unpacks them (initramfs buffer format)."""

from __future__ import annotations

import stat
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

_TRAILER = b"TRAILER!!!"


@dataclass(frozen=True, slots=True)
class Member:
    """A file, directory, symlink or device, with owner 0:0 and time 0 to be reproducible."""

    path: str  # relative, without a leading slash
    mode: int  # type and permission bits
    data: bytes = b""  # a file's content, a symlink's target
    device: tuple[int, int] = (0, 0)


def directory(path: str, mode: int = 0o755) -> Member:
    return Member(path, stat.S_IFDIR | mode)


def regular(path: str, data: bytes, mode: int = 0o644) -> Member:
    return Member(path, stat.S_IFREG | mode, data)


def symlink(path: str, target: str) -> Member:
    return Member(path, stat.S_IFLNK | 0o777, target.encode())


def character_device(path: str, mode: int, major: int, minor: int) -> Member:
    return Member(path, stat.S_IFCHR | mode, device=(major, minor))


def archive(members: Iterable[Member]) -> Iterator[bytes]:
    """Yield the archive in pieces, in the given order; the kernel needs parents first."""
    for number, member in enumerate(members, 1):
        yield from _entry(number, member)
    yield from _entry(0, Member(_TRAILER.decode(), 0))


def _entry(number: int, member: Member) -> Iterator[bytes]:
    name = member.path.encode() + b"\0"
    links = 2 if stat.S_ISDIR(member.mode) else 1
    fields = (
        number,
        member.mode,
        0,  # uid
        0,  # gid
        links,
        0,  # mtime
        len(member.data),
        0,  # device of the archive's own file system
        0,
        *member.device,
        len(name),
        0,  # checksum, not used by newc
    )
    header = b"070701" + b"".join(b"%08X" % field for field in fields) + name
    yield header + bytes(-len(header) % 4)
    if member.data:
        yield member.data + bytes(-len(member.data) % 4)


def with_parents(members: Iterable[Member]) -> list[Member]:
    """Return the members sorted by path, with every missing parent directory added."""
    by_path = {member.path: member for member in members}
    for path in list(by_path):
        parts = path.split("/")[:-1]
        for depth in range(1, len(parts) + 1):
            parent = "/".join(parts[:depth])
            by_path.setdefault(parent, directory(parent))
    return [by_path[path] for path in sorted(by_path)]
