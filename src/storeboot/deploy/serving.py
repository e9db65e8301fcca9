"""Shows whether a server runs, and when it was last up.

A server holds a lock on the file `running`, which the kernel releases however the server ends. So a
command learns at once, and without the network, that nobody carries on what it asks for. The lock
is one of an open file description (F_OFD_SETLK of fcntl(2)): unlike flock(2)'s it can be asked for
without being taken, so commands that look never disturb a server that starts, or each other.

The modification time of the file `serving` is when the server was last up.
"""

from __future__ import annotations

import fcntl
import os
import struct
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import structlog

from storeboot import files

log = structlog.get_logger()
# struct flock: type, whence, start and length of the range (0: to the end), and a pid, which is 0.
_LOCK = struct.Struct("@hhqqi4x")


@dataclass(frozen=True, slots=True)
class Serving:
    """The marks of a server that is up."""

    file: Path

    @property
    def lock(self) -> Path:
        """Return the file whose lock a server holds."""
        return self.file.with_name("running")

    @contextmanager
    def held(self) -> Iterator[None]:
        """Show commands that a server runs, for the length of a block.

        If the disk cannot be used, the server runs all the same, and commands do not see it.
        """
        descriptor = None
        try:
            descriptor = os.open(
                self.lock, os.O_RDONLY | os.O_CREAT | os.O_CLOEXEC, files.FILE_MODE
            )
            fcntl.fcntl(descriptor, fcntl.F_OFD_SETLK, _lock(fcntl.F_RDLCK))
        except OSError as error:
            log.warning("state.not_held", file=str(self.lock), reason=error.strerror)
        try:
            yield
        finally:
            if descriptor is not None:
                os.close(descriptor)

    def is_held(self) -> bool:
        """Return whether a server runs."""
        try:
            descriptor = os.open(self.lock, os.O_RDONLY | os.O_CLOEXEC)
        except FileNotFoundError:
            return False
        try:
            found = fcntl.fcntl(descriptor, fcntl.F_OFD_GETLK, _lock(fcntl.F_WRLCK))
        finally:
            os.close(descriptor)
        return bool(_LOCK.unpack(found)[0] != fcntl.F_UNLCK)

    def note(self) -> None:
        """Note that the server is up. If the disk cannot be written, this does nothing."""
        try:
            files.touch(self.file)
        except OSError as error:
            log.warning("state.not_noted", file=str(self.file), reason=error.strerror)

    def until(self) -> float | None:
        """Return when the server was last up, in seconds since 1970, or None if never."""
        try:
            return self.file.stat().st_mtime
        except FileNotFoundError:
            return None


def _lock(kind: int) -> bytes:
    """Return the request for a lock of this kind on a whole file."""
    return _LOCK.pack(kind, os.SEEK_SET, 0, 0, 0)
