"""Shows whether a server runs, and when it was last up.

A server holds the lock of the file `running`, which the kernel releases however the server ends. So
a command learns at once, and without the network, that nobody carries on what it asks for. The
modification time of the file `serving` is when the server was last up.
"""

from __future__ import annotations

import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import structlog

from storeboot import files

log = structlog.get_logger()


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
            fcntl.flock(descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)
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
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return True
        finally:
            os.close(descriptor)
        return False

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
