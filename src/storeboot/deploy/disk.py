"""Measures how much room is left for the state directory."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

LOW_BYTES = 500 << 20
LOW_PART = 0.05
LOW_MOST = 5 << 30  # for large disks: a twentieth of one is more than is worth a warning
LOW_FILES = 0.02


@dataclass(frozen=True, slots=True)
class Room:
    """The room on a file system for an ordinary user, in bytes and in files."""

    free: int
    size: int
    files_free: int
    files: int

    @property
    def is_low(self) -> bool:
        return self.free < max(LOW_BYTES, min(LOW_PART * self.size, LOW_MOST)) or (
            self.files_free < LOW_FILES * self.files
        )


def room(path: Path) -> Room:
    said = os.statvfs(path)
    size = said.f_blocks * said.f_frsize
    return Room(said.f_bavail * said.f_frsize, size, said.f_favail, said.f_files)


def shortage(path: Path) -> str | None:
    """Return what is running out on the disk, as text, or None if there is enough."""
    try:
        found = room(path)
    except OSError as error:
        return f"cannot look at the disk of {path}: {error.strerror}"
    if not found.is_low:
        return None
    return (
        f"{found.free >> 20} MiB and {found.files_free} files are left on the disk of {path}: when "
        "it is full, boots continue, but nothing can be deployed or recorded"
    )
