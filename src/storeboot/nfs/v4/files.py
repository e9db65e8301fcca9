"""Operations on names, attributes and data (RFC 8881 section 18)."""

from __future__ import annotations

from storeboot.nfs import access
from storeboot.nfs.handle import Place
from storeboot.nfs.index import Kind
from storeboot.nfs.limits import MAX_LISTING, MAX_READ
from storeboot.nfs.rpc import AuthFlavor
from storeboot.nfs.status import NfsError, Status
from storeboot.nfs.v4 import attributes
from storeboot.nfs.v4.constants import MAX_HANDLE, MAX_OPAQUE, Attr
from storeboot.nfs.v4.state import Compound
from storeboot.nfs.walk import ALIAS_NAME, Entry
from storeboot.nfs.xdr import FileSlice, Reader, Writer

_FIRST_COOKIE = 3  # 0 is the start, 1 and 2 are reserved (section 18.23.3)
MAX_FATTR = 4096


def op_access(compound: Compound, arguments: Reader, results: Writer) -> None:
    wanted = arguments.uint32() & access.ALL
    results.uint32(wanted)
    results.uint32(wanted & access.granted(compound.current.node))


def op_getattr(compound: Compound, arguments: Reader, results: Writer) -> None:
    wanted = arguments.bitmap()
    attributes.encode(results, _subject(compound, compound.current), wanted)


def _subject(compound: Compound, entry: Entry) -> attributes.Subject:
    return attributes.Subject(compound.walk, entry, compound.minor)


def op_getfh(compound: Compound, _arguments: Reader, results: Writer) -> None:
    results.opaque(compound.walk.raw(compound.current))


def op_lookup(compound: Compound, arguments: Reader, _results: Writer) -> None:
    name = arguments.opaque(MAX_OPAQUE)
    compound.current_or_none = lookup(compound, compound.current_directory, name)


def lookup(compound: Compound, directory: Entry, name: bytes) -> Entry:
    """Take one step down from a directory, to the name in a component4."""
    check_name(name)
    if name == ALIAS_NAME and directory.handle.place is Place.PSEUDO_ROOT:
        return compound.alias_root()
    return compound.walk.lookup(directory, name)


def check_name(name: bytes) -> None:
    """Check a component4 as the RFC requires: not empty, not `.` or `..` (section 14.5)."""
    if not name:
        raise NfsError(Status.INVAL)
    if name in (b".", b"..") or b"/" in name:
        raise NfsError(Status.BADNAME)


def op_lookupp(compound: Compound, _arguments: Reader, _results: Writer) -> None:
    compound.current_or_none = compound.walk.parent(compound.current_directory)


def op_putfh(compound: Compound, arguments: Reader, _results: Writer) -> None:
    compound.current_or_none = compound.walk.resolve(arguments.opaque(MAX_HANDLE))


def op_putrootfh(compound: Compound, _arguments: Reader, _results: Writer) -> None:
    compound.current_or_none = compound.walk.root()


def op_savefh(compound: Compound, _arguments: Reader, _results: Writer) -> None:
    compound.saved = compound.current


def op_restorefh(compound: Compound, _arguments: Reader, _results: Writer) -> None:
    compound.current_or_none = compound.saved_or_error


def op_read(compound: Compound, arguments: Reader, results: Writer) -> None:
    """Read data (section 18.22). Any stateid is valid: an open could not protect a reader."""
    arguments.take(16)
    offset, wanted = arguments.uint64(), arguments.uint32()
    entry = compound.current
    require_regular(entry)
    compound.walk.check_readable(entry)
    count = min(wanted, MAX_READ, max(0, entry.node.size - offset))
    results.boolean(offset + count >= entry.node.size)
    results.file(FileSlice(entry.store_name, entry.relative, offset, count, entry.node.size))


def require_regular(entry: Entry) -> None:
    """Raise unless it is a regular file: only those are opened and read (18.16.3, 18.22.3)."""
    match entry.node.kind:
        case Kind.REGULAR:
            return
        case Kind.DIRECTORY:
            raise NfsError(Status.ISDIR)
        case Kind.SYMLINK:
            raise NfsError(Status.SYMLINK)


def op_readlink(compound: Compound, _arguments: Reader, results: Writer) -> None:
    node = compound.current.node
    if node.kind is not Kind.SYMLINK:
        raise NfsError(Status.WRONG_TYPE)
    results.opaque(node.target)


def op_readdir(compound: Compound, arguments: Reader, results: Writer) -> None:
    """List a directory (section 18.23). Cookies are positions in the sorted names."""
    cookie = arguments.uint64()
    arguments.take(8)
    arguments.uint32()  # dircount: a hint
    room = min(arguments.uint32(), MAX_LISTING - compound.listed)  # shared by one compound
    wanted = arguments.bitmap()
    directory = compound.current_directory
    names = compound.walk.names(directory)
    if cookie and not _FIRST_COOKIE <= cookie < _FIRST_COOKIE + max(1, len(names)):
        raise NfsError(Status.BAD_COOKIE)
    start = cookie - _FIRST_COOKIE + 1 if cookie else 0
    listing, end = _entries(compound, directory, names[start:], start, room, wanted)
    compound.listed += len(listing)
    results.raw(bytes(8))
    results.raw(listing)
    results.boolean(False)
    results.boolean(end)


_LIST_OVERHEAD = 8 + 4 + 4  # verifier, end of list, end of directory


def _entries(
    compound: Compound,
    directory: Entry,
    names: tuple[bytes, ...],
    start: int,
    room: int,
    wanted: frozenset[int],
) -> tuple[bytes, bool]:
    """Return the entries that fit into `room` bytes, and whether they are the last ones."""
    listing = Writer()
    entries = compound.walk.children(directory, start)
    for position, (name, entry) in enumerate(zip(names, entries, strict=True), start):
        one = Writer()
        one.boolean(True)
        one.uint64(position + _FIRST_COOKIE)
        one.opaque(name)
        attributes.encode(one, _subject(compound, entry), wanted)
        if _LIST_OVERHEAD + len(listing) + len(one) > room:
            if not len(listing):
                raise NfsError(Status.TOOSMALL)
            return listing.getvalue(), False
        listing.raw(one.getvalue())
    if room < _LIST_OVERHEAD:
        raise NfsError(Status.TOOSMALL)
    return listing.getvalue(), True


def op_verify(compound: Compound, arguments: Reader, _results: Writer) -> None:
    if not _same(compound, arguments):
        raise NfsError(Status.NOT_SAME)


def op_nverify(compound: Compound, arguments: Reader, _results: Writer) -> None:
    if _same(compound, arguments):
        raise NfsError(Status.SAME)


def _same(compound: Compound, arguments: Reader) -> bool:
    """Return whether the given fattr4 equals the current place's, attribute by attribute."""
    given, values = arguments.bitmap(), arguments.opaque(MAX_FATTR)
    if given - attributes.supported(compound.minor):
        raise NfsError(Status.ATTRNOTSUPP)
    if Attr.RDATTR_ERROR in given:
        raise NfsError(Status.INVAL)
    own, theirs = Writer(), Writer()
    attributes.encode(own, _subject(compound, compound.current), given)
    theirs.bitmap(given)
    theirs.opaque(values)
    return own.getvalue() == theirs.getvalue()


def op_secinfo(compound: Compound, arguments: Reader, results: Writer) -> None:
    name = arguments.opaque(MAX_OPAQUE)
    lookup(compound, compound.current_directory, name)
    _write_flavors(compound, results)


def op_secinfo_no_name(compound: Compound, arguments: Reader, results: Writer) -> None:
    parent = arguments.uint32()
    if parent > 1:
        raise NfsError(Status.BADXDR)
    if parent:
        compound.walk.parent(compound.current_directory)
    else:
        _ = compound.current
    _write_flavors(compound, results)


def _write_flavors(compound: Compound, results: Writer) -> None:
    """Write the flavors for SECINFO, which clears the current filehandle (2.6.3.1.1.8)."""
    compound.current_or_none = None
    results.uint32(2)
    results.uint32(AuthFlavor.SYS)
    results.uint32(AuthFlavor.NONE)
