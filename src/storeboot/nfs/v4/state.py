"""What one COMPOUND carries from operation to operation."""

from __future__ import annotations

from dataclasses import dataclass

from storeboot.nfs.status import NfsError, Status
from storeboot.nfs.v4.identity import IdentityCodec
from storeboot.nfs.views import Catalogue, Entry, Kind


@dataclass(slots=True)
class Compound:
    """Current and saved filehandle (RFC 8881 section 16.2.3.1); gone when the reply is made."""

    catalogue: Catalogue
    identities: IdentityCodec
    minor: int
    count: int
    in_session: bool = False
    current_or_none: Entry | None = None
    saved: Entry | None = None

    @property
    def current(self) -> Entry:
        if self.current_or_none is None:
            raise NfsError(Status.NOFILEHANDLE)
        return self.current_or_none

    @property
    def current_directory(self) -> Entry:
        entry = self.current
        if entry.node.kind is Kind.SYMLINK:
            raise NfsError(Status.SYMLINK)
        if entry.node.kind is not Kind.DIRECTORY:
            raise NfsError(Status.NOTDIR)
        return entry
