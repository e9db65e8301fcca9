"""Records when the server was last up: the modification time of the file `serving`."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import structlog

from storeboot import files

log = structlog.get_logger()


@dataclass(frozen=True, slots=True)
class Serving:
    """The mark that a server renews as long as it is up."""

    file: Path

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
