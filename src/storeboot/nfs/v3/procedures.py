"""The twenty-two procedures of NFSv3 (RFC 1813 section 3.3), for a tree that cannot change."""

from __future__ import annotations

from collections.abc import Callable
from enum import IntEnum, IntFlag

from storeboot.nfs.index import Kind, Node
from storeboot.nfs.limits import MAX_FILE_SIZE, MAX_LISTING, MAX_READ, MAX_WRITE
from storeboot.nfs.status import NfsError, Status
from storeboot.nfs.v3.attributes import fattr3, post_op_attr, wcc_data
from storeboot.nfs.views import Catalogue, Entry
from storeboot.nfs.xdr import FileSlice, Reader, Writer

PROGRAM = 100003
VERSION = 3
MAX_HANDLE = 64  # NFS3_FHSIZE
MAX_WIRE_NAME = 1024  # longer than any name, so that the answer is NAMETOOLONG and not garbage

Procedure = Callable[[Catalogue, Reader, Writer], None]


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


class Access(IntFlag):
    """Section 3.3.4."""

    READ = 0x01
    LOOKUP = 0x02
    MODIFY = 0x04
    EXTEND = 0x08
    DELETE = 0x10
    EXECUTE = 0x20


def granted(node: Node) -> Access:
    """What anybody may do: the store is world-readable and nobody's to change."""
    if node.kind is Kind.DIRECTORY:
        return Access.READ | Access.LOOKUP | Access.EXECUTE
    return Access.READ | Access.EXECUTE if node.executable else Access.READ


def _resolve(catalogue: Catalogue, arguments: Reader) -> Entry:
    return catalogue.resolve(arguments.opaque(MAX_HANDLE))


def null(_catalogue: Catalogue, arguments: Reader, _results: Writer) -> None:
    arguments.end()


def getattr_(catalogue: Catalogue, arguments: Reader, results: Writer) -> None:
    try:
        entry = _resolve(catalogue, arguments)
    except NfsError as error:
        results.uint32(error.status)
        return
    arguments.end()
    results.uint32(Status.OK)
    results.raw(fattr3(entry.node))


def lookup(catalogue: Catalogue, arguments: Reader, results: Writer) -> None:
    directory = None
    try:
        directory = _resolve(catalogue, arguments)
        found = _step(catalogue, directory, arguments.opaque(MAX_WIRE_NAME))
    except NfsError as error:
        results.uint32(error.status)
        post_op_attr(results, directory.node if directory else None)
        return
    arguments.end()
    results.uint32(Status.OK)
    results.opaque(catalogue.raw(found))
    post_op_attr(results, found.node)
    post_op_attr(results, directory.node)


def _step(catalogue: Catalogue, directory: Entry, name: bytes) -> Entry:
    """LOOKUP knows `.` and `..` (section 3.3.3); nothing leads above the view's root."""
    if directory.node.kind is not Kind.DIRECTORY:
        raise NfsError(Status.NOTDIR)
    if name == b".":
        return directory
    if name == b"..":
        return _above(catalogue, directory)
    return catalogue.lookup(directory, name)


def _above(catalogue: Catalogue, directory: Entry) -> Entry:
    return catalogue.parent(directory) if directory.store_name else directory


def access(catalogue: Catalogue, arguments: Reader, results: Writer) -> None:
    try:
        entry = _resolve(catalogue, arguments)
    except NfsError as error:
        results.uint32(error.status)
        post_op_attr(results, None)
        return
    wanted = arguments.uint32()
    arguments.end()
    results.uint32(Status.OK)
    post_op_attr(results, entry.node)
    results.uint32(wanted & granted(entry.node))


def readlink(catalogue: Catalogue, arguments: Reader, results: Writer) -> None:
    entry = None
    try:
        entry = _resolve(catalogue, arguments)
        if entry.node.kind is not Kind.SYMLINK:
            raise NfsError(Status.INVAL)
    except NfsError as error:
        results.uint32(error.status)
        post_op_attr(results, entry.node if entry else None)
        return
    arguments.end()
    results.uint32(Status.OK)
    post_op_attr(results, entry.node)
    results.opaque(entry.node.target)


def read(catalogue: Catalogue, arguments: Reader, results: Writer) -> None:
    entry = None
    try:
        entry = _resolve(catalogue, arguments)
        if entry.node.kind is not Kind.REGULAR:
            raise NfsError(Status.ISDIR if entry.node.kind is Kind.DIRECTORY else Status.INVAL)
        catalogue.check_readable(entry)
    except NfsError as error:
        results.uint32(error.status)
        post_op_attr(results, entry.node if entry else None)
        return
    offset, wanted = arguments.uint64(), arguments.uint32()
    arguments.end()
    count = min(wanted, MAX_READ, max(0, entry.node.size - offset))
    results.uint32(Status.OK)
    post_op_attr(results, entry.node)
    results.uint32(count)
    results.boolean(offset + count >= entry.node.size)
    results.file(FileSlice(entry.store_name, entry.relative, offset, count, entry.node.size))


def readdir(catalogue: Catalogue, arguments: Reader, results: Writer) -> None:
    _list(catalogue, arguments, results, plus=False)


def readdirplus(catalogue: Catalogue, arguments: Reader, results: Writer) -> None:
    _list(catalogue, arguments, results, plus=True)


def _list(catalogue: Catalogue, arguments: Reader, results: Writer, *, plus: bool) -> None:
    """READDIR and READDIRPLUS (sections 3.3.16 and 3.3.17).

    A cookie is a position in the sorted names behind `.` and `..`, so it outlives the process
    and the cookie verifier has nothing to say.
    """
    directory = None
    try:
        directory = _resolve(catalogue, arguments)
        names = (b".", b"..", *catalogue.names(directory))
        cookie = arguments.uint64()
        arguments.take(8)
        if plus:
            arguments.uint32()  # dircount: a hint
        room = min(arguments.uint32(), MAX_LISTING)
        arguments.end()
        if cookie > len(names):
            raise NfsError(Status.BAD_COOKIE)
        listing, end = _entries(catalogue, directory, names, cookie, room, plus=plus)
    except NfsError as error:
        results.uint32(error.status)
        post_op_attr(results, directory.node if directory else None)
        return
    results.uint32(Status.OK)
    post_op_attr(results, directory.node)
    results.raw(bytes(8))
    results.raw(listing)
    results.boolean(False)
    results.boolean(end)


_LIST_OVERHEAD = 4 + 88 + 8 + 4 + 4  # status, attributes, verifier, end of list, end of directory


def _entries(
    catalogue: Catalogue,
    directory: Entry,
    names: tuple[bytes, ...],
    cookie: int,
    room: int,
    *,
    plus: bool,
) -> tuple[bytes, bool]:
    """As many entries as fit into `room` bytes, and whether they are the last ones."""
    listing = Writer()
    for position in range(cookie, len(names)):
        entry = _step(catalogue, directory, names[position])
        one = Writer()
        one.boolean(True)
        one.uint64(entry.node.fileid)
        one.opaque(names[position])
        one.uint64(position + 1)
        if plus:
            post_op_attr(one, entry.node)
            one.boolean(True)
            one.opaque(catalogue.raw(entry))
        if _LIST_OVERHEAD + len(listing) + len(one) > room:
            if not len(listing):
                raise NfsError(Status.TOOSMALL)
            return listing.getvalue(), False
        listing.raw(one.getvalue())
    return listing.getvalue(), True


def fsstat(catalogue: Catalogue, arguments: Reader, results: Writer) -> None:
    if _about(catalogue, arguments, results):
        for _ in range(6):  # bytes and files: total, free, available; nothing can be added
            results.uint64(0)
        results.uint32(0xFFFF_FFFF)  # invarsec: never changes


def fsinfo(catalogue: Catalogue, arguments: Reader, results: Writer) -> None:
    if _about(catalogue, arguments, results):
        for value in (MAX_READ, MAX_READ, 4096, MAX_WRITE, MAX_WRITE, 4096, MAX_LISTING):
            results.uint32(value)
        results.uint64(MAX_FILE_SIZE)
        results.uint32(0)  # time_delta
        results.uint32(1)
        results.uint32(0x0002 | 0x0008)  # FSF3_SYMLINK, FSF3_HOMOGENEOUS


def pathconf(catalogue: Catalogue, arguments: Reader, results: Writer) -> None:
    if _about(catalogue, arguments, results):
        results.uint32(1)  # linkmax
        results.uint32(255)  # name_max
        for flag in (True, True, False, True):  # no_trunc, chown_restricted, case folding, kept
            results.boolean(flag)


def _about(catalogue: Catalogue, arguments: Reader, results: Writer) -> bool:
    """The common start of the three replies about the file system as a whole."""
    try:
        entry = _resolve(catalogue, arguments)
    except NfsError as error:
        results.uint32(error.status)
        post_op_attr(results, None)
        return False
    arguments.end()
    results.uint32(Status.OK)
    post_op_attr(results, entry.node)
    return True


def _refuse(catalogue: Catalogue, arguments: Reader, results: Writer) -> None:
    """Every change to a real place is ROFS."""
    try:
        _resolve(catalogue, arguments)
        results.uint32(Status.ROFS)
    except NfsError as error:
        results.uint32(error.status)
    wcc_data(results)


def _refuse_link(catalogue: Catalogue, arguments: Reader, results: Writer) -> None:
    """LINK's failure has attributes of the file before those of the directory."""
    try:
        entry = _resolve(catalogue, arguments)
        results.uint32(Status.ROFS)
        post_op_attr(results, entry.node)
    except NfsError as error:
        results.uint32(error.status)
        post_op_attr(results, None)
    wcc_data(results)


def _refuse_rename(catalogue: Catalogue, arguments: Reader, results: Writer) -> None:
    """RENAME's failure has the data of two directories."""
    _refuse(catalogue, arguments, results)
    wcc_data(results)


PROCEDURES: dict[int, Procedure] = {
    Proc.NULL: null,
    Proc.GETATTR: getattr_,
    Proc.SETATTR: _refuse,
    Proc.LOOKUP: lookup,
    Proc.ACCESS: access,
    Proc.READLINK: readlink,
    Proc.READ: read,
    Proc.WRITE: _refuse,
    Proc.CREATE: _refuse,
    Proc.MKDIR: _refuse,
    Proc.SYMLINK: _refuse,
    Proc.MKNOD: _refuse,
    Proc.REMOVE: _refuse,
    Proc.RMDIR: _refuse,
    Proc.RENAME: _refuse_rename,
    Proc.LINK: _refuse_link,
    Proc.READDIR: readdir,
    Proc.READDIRPLUS: readdirplus,
    Proc.FSSTAT: fsstat,
    Proc.FSINFO: fsinfo,
    Proc.PATHCONF: pathconf,
    Proc.COMMIT: _refuse,
}
REFUSALS = frozenset({_refuse, _refuse_rename, _refuse_link})
