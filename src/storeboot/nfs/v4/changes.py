"""Operations that would change something. They check their arguments; the table then says ROFS."""

from __future__ import annotations

from storeboot.nfs.v4.constants import MAX_OPAQUE
from storeboot.nfs.v4.files import check_name
from storeboot.nfs.v4.state import Compound, directory_of
from storeboot.nfs.xdr import Reader, Writer


def op_change(compound: Compound, _arguments: Reader, _results: Writer) -> None:
    """Check COMMIT, SETATTR, WRITE and the like: there must be a current place."""
    _ = compound.current


def op_create(compound: Compound, _arguments: Reader, _results: Writer) -> None:
    """Check CREATE: in a directory. The name is not read, because its position varies by type."""
    _ = compound.current_directory


def op_remove(compound: Compound, arguments: Reader, _results: Writer) -> None:
    _ = compound.current_directory
    check_name(arguments.opaque(MAX_OPAQUE))


def op_link(compound: Compound, arguments: Reader, _results: Writer) -> None:
    _ = compound.saved_or_error
    _ = compound.current_directory
    check_name(arguments.opaque(MAX_OPAQUE))


def op_rename(compound: Compound, arguments: Reader, _results: Writer) -> None:
    """Check RENAME (section 18.26): from the saved directory into the current one."""
    directory_of(compound.saved_or_error)
    _ = compound.current_directory
    for _name in ("old", "new"):
        check_name(arguments.opaque(MAX_OPAQUE))
