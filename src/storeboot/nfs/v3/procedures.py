"""The twenty-two procedures of NFSv3 (RFC 1813 section 3.3), for a tree that cannot change."""

from __future__ import annotations

from collections.abc import Iterator
from enum import IntEnum
from struct import Struct

from storeboot.nfs.access import granted
from storeboot.nfs.index import Kind, Node
from storeboot.nfs.limits import MAX_FILE_SIZE, MAX_LISTING, MAX_READ, MAX_WRITE
from storeboot.nfs.status import NfsError, Status
from storeboot.nfs.v3.attributes import fattr3, post_op_attr, wcc_data
from storeboot.nfs.v3.dispatch import Procedure, Request
from storeboot.nfs.walk import Entry, Walk
from storeboot.nfs.xdr import FileSlice, Writer

PROGRAM = 100003
VERSION = 3
_ENTRY = Struct(">IQI")  # another entry follows; fileid; size of the name
MAX_WIRE_NAME = 1024  # longer than any name, so that the answer is NAMETOOLONG and not GARBAGE_ARGS


class Proc(IntEnum):
    """Procedure numbers."""

    NULL = 0
    GETATTR = 1
    SETATTR = 2
    LOOKUP = 3
    ACCESS = 4
    READLINK = 5
    READ = 6
    WRITE = 7
    CREATE = 8
    MKDIR = 9
    SYMLINK = 10
    MKNOD = 11
    REMOVE = 12
    RMDIR = 13
    RENAME = 14
    LINK = 15
    READDIR = 16
    READDIRPLUS = 17
    FSSTAT = 18
    FSINFO = 19
    PATHCONF = 20
    COMMIT = 21


def null(request: Request, _results: Writer) -> None:
    request.arguments.end()


def getattr_(request: Request, results: Writer) -> None:
    entry = request.resolve()
    request.arguments.end()
    results.uint32(Status.OK)
    results.raw(fattr3(entry.node))


def lookup(request: Request, results: Writer) -> None:
    directory = request.resolve()
    found = _step(request.walk, directory, request.arguments.opaque(MAX_WIRE_NAME))
    request.arguments.end()
    results.uint32(Status.OK)
    results.opaque(request.walk.raw(found))
    post_op_attr(results, found.node)
    post_op_attr(results, directory.node)


def _step(walk: Walk, directory: Entry, name: bytes) -> Entry:
    """Take one LOOKUP step, also to `.` and `..` (section 3.3.3), but not above the view's root."""
    if directory.node.kind is not Kind.DIRECTORY:
        raise NfsError(Status.NOTDIR)
    if name == b".":
        return directory
    if name == b"..":
        return walk.parent(directory) if directory.store_name else directory
    return walk.lookup(directory, name)


def access(request: Request, results: Writer) -> None:
    entry = request.resolve()
    wanted = request.arguments.uint32()
    request.arguments.end()
    results.uint32(Status.OK)
    post_op_attr(results, entry.node)
    results.uint32(wanted & granted(entry.node))


def readlink(request: Request, results: Writer) -> None:
    entry = request.resolve()
    if entry.node.kind is not Kind.SYMLINK:
        raise NfsError(Status.INVAL)
    request.arguments.end()
    results.uint32(Status.OK)
    post_op_attr(results, entry.node)
    results.opaque(entry.node.target)


def read(request: Request, results: Writer) -> None:
    entry, arguments = request.resolve(), request.arguments
    node = entry.node
    if node.kind is not Kind.REGULAR:
        raise NfsError(Status.ISDIR if node.kind is Kind.DIRECTORY else Status.INVAL)
    request.walk.check_readable(entry)
    offset, wanted = arguments.uint64(), arguments.uint32()
    arguments.end()
    count = min(wanted, MAX_READ, max(0, node.size - offset))
    results.uint32(Status.OK)
    post_op_attr(results, node)
    results.uint32(count)
    results.boolean(offset + count >= node.size)
    results.file(FileSlice(entry.store_name, entry.relative, offset, count, node.size))


def readdir(request: Request, results: Writer) -> None:
    _list(request, results, plus=False)


def readdirplus(request: Request, results: Writer) -> None:
    _list(request, results, plus=True)


def _list(request: Request, results: Writer, *, plus: bool) -> None:
    """Write the results of READDIR or READDIRPLUS (sections 3.3.16 and 3.3.17).

    A cookie is a position in the sorted names after `.` and `..`, so it outlives the process, and
    the cookie verifier is not needed.
    """
    directory, arguments = request.resolve(), request.arguments
    names = (b".", b"..", *request.walk.names(directory))
    cookie = arguments.uint64()
    arguments.take(8)
    if plus:
        arguments.uint32()  # dircount: a hint
    room = min(arguments.uint32(), MAX_LISTING)
    arguments.end()
    if cookie > len(names):
        raise NfsError(Status.BAD_COOKIE)
    listing, end = _entries(request.walk, directory, names, cookie, room, plus=plus)
    results.uint32(Status.OK)
    post_op_attr(results, directory.node)
    results.raw(bytes(8))
    results.raw(listing)
    results.boolean(False)
    results.boolean(end)


_LIST_OVERHEAD = 4 + 88 + 8 + 4 + 4  # status, attributes, verifier, end of list, end of directory


def _entries(
    walk: Walk,
    directory: Entry,
    names: tuple[bytes, ...],
    cookie: int,
    room: int,
    *,
    plus: bool,
) -> tuple[bytes, bool]:
    """Return the entries that fit into `room` bytes, and whether they are the last ones."""
    listing = bytearray()
    entries = _from(walk, directory, cookie)
    for position, (name, entry) in enumerate(zip(names[cookie:], entries, strict=True), cookie + 1):
        one = _entry(name, entry.node, position, walk.raw(entry) if plus else None)
        if _LIST_OVERHEAD + len(listing) + len(one) > room:
            if not listing:
                raise NfsError(Status.TOOSMALL)
            return bytes(listing), False
        listing += one
    return bytes(listing), True


def _from(walk: Walk, directory: Entry, cookie: int) -> Iterator[Entry]:
    """Yield a directory's entries from a position on; the first two are `.` and `..`."""
    for name in (b".", b"..")[cookie:]:
        yield _step(walk, directory, name)
    yield from walk.children(directory, max(0, cookie - 2))


def _entry(name: bytes, node: Node, cookie: int, handle: bytes | None) -> bytes:
    """Return an entry3, or an entryplus3 if there is a filehandle, after the flag "one more
    follows"."""
    head = _ENTRY.pack(1, node.fileid, len(name)) + name + bytes(-len(name) & 3)
    if handle is None:
        return head + cookie.to_bytes(8, "big")
    there = b"\0\0\0\1"  # attributes and filehandle
    size = len(handle).to_bytes(4, "big")
    return b"".join((head, cookie.to_bytes(8, "big"), there, fattr3(node), there, size, handle))


def fsstat(request: Request, results: Writer) -> None:
    _about(request, results)
    for _ in range(6):  # bytes and files: total, free, available; nothing can be added
        results.uint64(0)
    results.uint32(0xFFFF_FFFF)  # invarsec: never changes


def fsinfo(request: Request, results: Writer) -> None:
    _about(request, results)
    for value in (MAX_READ, MAX_READ, 4096, MAX_WRITE, MAX_WRITE, 4096, MAX_LISTING):
        results.uint32(value)
    results.uint64(MAX_FILE_SIZE)
    results.uint32(0)  # time_delta
    results.uint32(1)
    results.uint32(0x0002 | 0x0008)  # FSF3_SYMLINK, FSF3_HOMOGENEOUS


def pathconf(request: Request, results: Writer) -> None:
    _about(request, results)
    results.uint32(1)  # linkmax
    results.uint32(255)  # name_max
    for flag in (True, True, False, True):  # no_trunc, chown_restricted, case folding, kept
        results.boolean(flag)


def _about(request: Request, results: Writer) -> None:
    """Write the start that the three replies about the whole file system share."""
    entry = request.resolve()
    request.arguments.end()
    results.uint32(Status.OK)
    post_op_attr(results, entry.node)


def change(request: Request, _results: Writer) -> None:
    """Check that the place of a change exists; the table then refuses the change."""
    request.resolve()


def _link_failed(results: Writer, node: Node | None) -> None:
    """Write the results of a failed LINK: attributes of the file, then those of the directory."""
    post_op_attr(results, node)
    wcc_data(results, None)


def _rename_failed(results: Writer, _node: Node | None) -> None:
    """Write the results of a failed RENAME: the data of two directories."""
    wcc_data(results, None)
    wcc_data(results, None)


_CHANGE = Procedure(change, wcc_data, refusal=Status.ROFS, pure=True)

PROCEDURES: dict[int, Procedure] = {
    Proc.NULL: Procedure(null, pure=True),
    Proc.GETATTR: Procedure(getattr_, pure=True),
    Proc.SETATTR: _CHANGE,
    Proc.LOOKUP: Procedure(lookup, post_op_attr, pure=True),
    Proc.ACCESS: Procedure(access, post_op_attr, pure=True),
    Proc.READLINK: Procedure(readlink, post_op_attr, pure=True),
    Proc.READ: Procedure(read, post_op_attr, pure=True),
    Proc.WRITE: _CHANGE,
    Proc.CREATE: _CHANGE,
    Proc.MKDIR: _CHANGE,
    Proc.SYMLINK: _CHANGE,
    Proc.MKNOD: _CHANGE,
    Proc.REMOVE: _CHANGE,
    Proc.RMDIR: _CHANGE,
    Proc.RENAME: Procedure(change, _rename_failed, refusal=Status.ROFS, pure=True),
    Proc.LINK: Procedure(change, _link_failed, refusal=Status.ROFS, pure=True),
    Proc.READDIR: Procedure(readdir, post_op_attr, pure=True),
    Proc.READDIRPLUS: Procedure(readdirplus, post_op_attr, pure=True),
    Proc.FSSTAT: Procedure(fsstat, post_op_attr, pure=True),
    Proc.FSINFO: Procedure(fsinfo, post_op_attr, pure=True),
    Proc.PATHCONF: Procedure(pathconf, post_op_attr, pure=True),
    Proc.COMMIT: _CHANGE,
}
