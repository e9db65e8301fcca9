"""A file system whose power can be cut: ext4 on a loop device, with its shutdown ioctl."""

from __future__ import annotations

import fcntl
import os
import struct
from enum import IntEnum
from pathlib import Path

from storeboot.process import run

_SHUTDOWN = 2 << 30 | 4 << 16 | ord("X") << 8 | 125  # EXT4_IOC_SHUTDOWN: _IOR('X', 125, __u32)
_SIZE = 192 << 20
_PATIENCE = 120.0


class Loss(IntEnum):
    """What a cut takes: all data that was not synced, and names as well or not."""

    DATA = 1  # the journal is written, so new names lead to files that are empty
    DATA_AND_NAMES = 2


class Disk:
    """Mounted at `place`, in a file of the directory `scratch`.

    Another process may have a mount namespace of its own, made while this was mounted, that keeps
    the file system alive for as long as it likes. So nothing here relies on a file system being
    gone after umount(8): each power-on is of a copy.
    """

    def __init__(self, scratch: Path) -> None:
        self._scratch = scratch
        self._images = 0
        self.place = scratch / "disk"
        self.place.mkdir()

    @property
    def image(self) -> Path:
        return self._scratch / f"disk-{self._images}.img"

    def format(self) -> None:
        with self.image.open("wb") as stream:
            stream.truncate(_SIZE)
        run(["mkfs.ext4", "-q", "-F", "-m", "0", self.image], seconds=_PATIENCE)

    def copy_of(self, other: Disk) -> None:
        """What the other, which is not mounted, has."""
        run(["cp", "--sparse=always", other.image, self.image], seconds=_PATIENCE)

    def mount(self) -> None:
        # Without this ext4 syncs some of the files that are renamed over others by itself.
        options = "loop,noauto_da_alloc"
        run(["mount", "-t", "ext4", "-o", options, self.image, self.place], seconds=_PATIENCE)

    def unmount(self) -> None:
        run(["sync", "--file-system", self.place], seconds=_PATIENCE)
        run(["umount", self.place], seconds=_PATIENCE)

    def cut(self, loss: Loss) -> None:
        """From here on nothing is written, and what was not yet is lost."""
        descriptor = os.open(self.place, os.O_RDONLY)
        try:
            fcntl.ioctl(descriptor, _SHUTDOWN, struct.pack("I", loss))
        finally:
            os.close(descriptor)

    def power_on(self) -> None:
        """After a cut: the journal is replayed, the file system is clean, and mounted again."""
        run(["umount", "--lazy", self.place], seconds=_PATIENCE)
        before, self._images = self.image, self._images + 1
        run(["cp", "--sparse=always", before, self.image], seconds=_PATIENCE)
        before.unlink()
        # Twice: the first run replays the journal, the second one finds nothing to do.
        run(["sh", "-c", 'e2fsck -p "$1" || [ $? = 1 ]', "sh", self.image], seconds=_PATIENCE)
        run(["e2fsck", "-f", "-n", self.image], seconds=_PATIENCE)
        self.mount()

    def remove(self) -> None:
        """Whatever state it is in."""
        if self.place.is_mount():
            run(["umount", "--lazy", self.place], seconds=_PATIENCE)
        self.image.unlink(missing_ok=True)
