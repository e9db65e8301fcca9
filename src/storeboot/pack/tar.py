"""A pack as a tar stream, which can describe a whole file system image without root.

pax extended headers (POSIX.1-2001, pax) have long names and extended attributes (`SCHILY.xattr.*`);
stubs are sparse files in GNU tar's format 1.0, so that a closure of any size costs nothing. For the
meaning of the attributes see Linux, Documentation/filesystems/overlayfs.rst.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from storeboot.pack.tree import Inode

BLOCK = 512
# A struct ovl_metacopy without digest: version 0, four bytes long. Linux before 6.6 accepts any
# value, later versions also an empty one, which pax cannot express.
METACOPY = b"\0\4\0\0"
_OVERLAY = b"SCHILY.xattr.trusted.overlay."
_MAX_SIZE = 0o77777777777  # what the plain header can hold
Records = list[tuple[bytes, bytes]]


def directory(inode: Inode) -> bytes:
    """Return an opaque directory: all its names are here, and none is looked up below it."""
    return _member(inode, b"5", [(_OVERLAY + b"opaque", b"y")])


def symlink(inode: Inode) -> bytes:
    return _member(inode, b"2", [(b"linkpath", inode.target)])


def stub(inode: Inode, redirect: bytes) -> bytes:
    """Return a file with its attributes here, and its data at `redirect` in the layer below."""
    extents = _padded(b"1\n%d\n0\n" % inode.size)  # one of no bytes, at the end
    records = [
        (_OVERLAY + b"metacopy", METACOPY),
        (_OVERLAY + b"redirect", redirect),
        (b"GNU.sparse.major", b"1"),
        (b"GNU.sparse.minor", b"0"),
        (b"GNU.sparse.name", inode.path),
        (b"GNU.sparse.realsize", b"%d" % inode.size),
    ]
    return _member(inode, b"0", records, len(extents)) + extents


def hot(inode: Inode, data: Iterable[bytes]) -> Iterator[bytes]:
    """Yield a file with its data, in pieces."""
    yield _member(inode, b"0", [], inode.size)
    size = 0
    for piece in data:
        size += len(piece)
        yield piece
    if size != inode.size:
        raise ValueError(f"{inode.path!r} has {size} bytes instead of {inode.size}")
    yield bytes(-size % BLOCK)


def end() -> bytes:
    return bytes(2 * BLOCK)


def _member(inode: Inode, kind: bytes, records: Records, size: int = 0) -> bytes:
    records = [(b"path", inode.path), *records]
    if size > _MAX_SIZE:
        records.append((b"size", b"%d" % size))
    extended = b"".join(_record(name, value) for name, value in records)
    return (
        _header(b"pax", 0o644, len(extended), 0, b"x")
        + _padded(extended)
        + _header(inode.path, inode.mode, min(size, _MAX_SIZE), inode.mtime, kind)
    )


def _record(name: bytes, value: bytes) -> bytes:
    """Return `<length> <name>=<value>\\n`, where the length counts its own digits."""
    rest = b" %s=%s\n" % (name, value)
    length = len(rest) + 1
    while len(b"%d" % length) + len(rest) != length:
        length = len(b"%d" % length) + len(rest)
    return b"%d" % length + rest


def _header(name: bytes, mode: int, size: int, mtime: int, kind: bytes) -> bytes:
    """Return a ustar header; owner and group are root."""
    fields = b"".join(
        (
            name[:100].ljust(100, b"\0"),
            b"%07o\0" % (mode & 0o7777),
            b"%07o\0" % 0,
            b"%07o\0" % 0,
            b"%011o\0" % size,
            b"%011o\0" % mtime,
            b" " * 8,  # the checksum counts as blanks
            kind,
            bytes(100),
            b"ustar\x0000",
        )
    ).ljust(BLOCK, b"\0")
    checksum = b"%06o\0 " % sum(fields)
    return fields[:148] + checksum + fields[156:]


def _padded(data: bytes) -> bytes:
    return data + bytes(-len(data) % BLOCK)
