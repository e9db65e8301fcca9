"""Operations that would change something: what is wrong with them is found, the rest is ROFS."""

from __future__ import annotations

from storeboot.nfs.v4.constants import MAX_OPAQUE
from storeboot.nfs.v4.files import check_name
from storeboot.nfs.v4.state import Compound, directory_of
from storeboot.nfs.xdr import Reader, Writer


def op_change(compound: Compound, _arguments: Reader, _results: Writer) -> None:
    """COMMIT, SETATTR, WRITE and their like: of the current place, if there is one."""
    _ = compound.current


def op_create(compound: Compound, _arguments: Reader, _results: Writer) -> None:
    """In a directory; what it would be called comes behind arguments of many shapes."""
    _ = compound.current_directory


def op_remove(compound: Compound, arguments: Reader, _results: Writer) -> None:
    _ = compound.current_directory
    check_name(arguments.opaque(MAX_OPAQUE))


def op_link(compound: Compound, arguments: Reader, _results: Writer) -> None:
    _ = compound.saved_or_error
    _ = compound.current_directory
    check_name(arguments.opaque(MAX_OPAQUE))


def op_rename(compound: Compound, arguments: Reader, _results: Writer) -> None:
    """Section 18.26: from the saved directory into the current one."""
    directory_of(compound.saved_or_error)
    _ = compound.current_directory
    for _name in ("old", "new"):
        check_name(arguments.opaque(MAX_OPAQUE))
