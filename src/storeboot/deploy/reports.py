"""Stores what machines report about themselves: files below reports/, within limits.

reports/BOOT/host    whose boot it is
reports/BOOT/PART    a part, which gets its name when it is complete

A part is written as it arrives. Whatever machines send, reports never take more than a fixed
amount of room, and never the last room on the disk. Older reports are removed to make room, those
of the same host first.
"""

from __future__ import annotations

import os
import shutil
import threading
from collections.abc import Collection
from contextlib import ExitStack, suppress
from dataclasses import dataclass, field
from pathlib import Path

from storeboot import files
from storeboot.deploy.disk import room
from storeboot.errors import StorebootError

MAX_PART = 32 << 20  # bytes
MAX_BOOT = 64 << 20
MAX_HOST = 128 << 20
MAX_TOTAL = 1 << 30
FLOOR = 256 << 20  # kept free on the disk, or this part of the disk if that is less:
FLOOR_PART = 0.1


class NoRoomError(StorebootError):
    """A report does not fit into its limits."""


class AbandonedError(Exception):
    """The rest of a part will not arrive."""


class Part:
    """A part on its way to its file. Methods block; call one at a time."""

    def __init__(self, reports: Reports, file: Path) -> None:
        self._reports = reports
        self._file = file
        self._guard = threading.Lock()
        self._stack = ExitStack()
        self._descriptor = -1

    def open(self, host: str) -> None:
        with self._guard:
            directory = self._file.parent
            files.make_directory(directory, durable=False)
            files.write(directory / "host", host, durable=False)
            place = self._stack.enter_context(files.publish(self._file, durable=False))
            self._descriptor = os.open(place, os.O_WRONLY | os.O_CLOEXEC)
            self._stack.callback(os.close, self._descriptor)

    def write(self, data: bytes) -> None:
        with self._guard:
            view = memoryview(data)
            while view:
                view = view[os.write(self._descriptor, view) :]

    def finish(self) -> None:
        """Give the complete part its name."""
        with self._guard:
            self._stack.close()
        self._reports.came(self._file)

    def abandon(self) -> None:
        """Remove the part, and the boot's directory if this was the first part."""
        with self._guard:
            error = AbandonedError()
            with suppress(AbandonedError, OSError):
                self._stack.__exit__(AbandonedError, error, None)
            with suppress(OSError):
                if not any(each.name != "host" for each in self._file.parent.iterdir()):
                    shutil.rmtree(self._file.parent)
        self._reports.came(self._file)


@dataclass(slots=True)
class Reports:
    """All reports. Methods block; any thread may call them."""

    path: Path
    _guard: threading.RLock = field(default_factory=threading.RLock)
    _coming: dict[Path, int] = field(default_factory=dict)  # bytes that were announced

    def file(self, boot: str, part: str) -> Path:
        return self.path / boot / part

    def begin(
        self, host: str, boot: str, part: str, size: int, keep: Collection[str] | None
    ) -> Part:
        """Begin a part of `size` bytes; raise NoRoomError if there is no room for it.

        `keep` are the host's boots whose reports stay; by default all of them.
        """
        file = self.file(boot, part)
        self._reserve(host, file, size, keep)
        begun = Part(self, file)
        try:
            begun.open(host)
        except BaseException:
            begun.abandon()
            raise
        return begun

    def came(self, file: Path) -> None:
        """Note that a part is on disk, or will not arrive."""
        with self._guard:
            self._coming.pop(file, None)

    def _reserve(self, host: str, file: Path, size: int, keep: Collection[str] | None) -> None:
        if size > MAX_PART:
            raise NoRoomError(f"a part of a report may have {MAX_PART} bytes")
        with self._guard:
            if file in self._coming:
                raise NoRoomError("this part is being sent already")
            if keep is not None:
                self._forget(host, keep)
            boots = self._sizes()
            own = boots.get(file.parent.name, (host, 0, 0.0))[1] + self._promised(file.parent)
            if own + size > MAX_BOOT:
                raise NoRoomError(f"the reports of one boot may have {MAX_BOOT} bytes")
            self._make_room(host, file.parent.name, size, boots)
            if not self._fits(size):
                raise NoRoomError("the server's disk has no room for reports")
            self._coming[file] = size

    def _promised(self, directory: Path | None = None) -> int:
        return sum(
            size
            for file, size in self._coming.items()
            if directory is None or file.parent == directory
        )

    def _fits(self, size: int) -> bool:
        there = room(self.path)
        return there.free - self._promised() - size >= min(FLOOR, FLOOR_PART * there.size)

    def _make_room(
        self, host: str, boot: str, size: int, boots: dict[str, tuple[str, int, float]]
    ) -> None:
        """Remove reports: first older ones of the same host, then the oldest of the host with
        most."""
        coming = self._promised() + size
        while boots:
            of_hosts: dict[str, int] = {}
            for owner, bytes_, _ in boots.values():
                of_hosts[owner] = of_hosts.get(owner, 0) + bytes_
            if of_hosts.get(host, 0) + size > MAX_HOST:
                owner = host
            elif sum(of_hosts.values()) + coming > MAX_TOTAL:
                owner = max(of_hosts, key=lambda each: of_hosts[each])
            else:
                return
            others = [id_ for id_, each in boots.items() if each[0] == owner and id_ != boot]
            if not others:
                raise NoRoomError("the reports that are kept leave no room for this one")
            oldest = min(others, key=lambda each: boots[each][2])
            self._remove(oldest)
            del boots[oldest]

    def _sizes(self) -> dict[str, tuple[str, int, float]]:
        """Return for each boot its host, its bytes, and when it was last changed."""
        found = {}
        for directory in self.path.iterdir():
            with suppress(OSError, UnicodeDecodeError):
                bytes_ = sum(each.stat().st_size for each in directory.iterdir())
                owner = directory / "host"
                name = owner.read_text() if owner.is_file() else ""
                found[directory.name] = (name, bytes_, directory.stat().st_mtime)
        return found

    def _forget(self, host: str, keep: Collection[str]) -> None:
        """Remove the reports of the host's other boots."""
        for boot, (owner, _, _) in self._sizes().items():
            if owner == host and boot not in keep:
                self._remove(boot)

    def _remove(self, boot: str) -> None:
        if not any(file.parent.name == boot for file in self._coming):
            shutil.rmtree(self.path / boot, ignore_errors=True)
