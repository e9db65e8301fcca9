"""Locks between processes (flock(2)): held for the length of a block, awaited with a time limit."""

from __future__ import annotations

import fcntl
import os
import time
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

from storeboot.errors import StorebootError
from storeboot.files import FILE_MODE

PATIENCE = 60.0  # seconds
_FIRST_PAUSE, _LONGEST_PAUSE = 0.002, 0.05  # seconds between two tries
_SAME_USER = "run commands as the user that `storeboot serve` runs as"
_PROC_LOCKS = Path("/proc/locks")


@dataclass(frozen=True, slots=True)
class Locks:
    """The locks of a state directory. Each method waits at most `seconds` for its lock."""

    state: Path

    def roots(
        self, *, alone: bool = False, seconds: float = PATIENCE
    ) -> AbstractContextManager[None]:
        """Keep garbage collection roots as they are.

        Processes that make roots or rely on them hold this lock shared. A process that removes
        roots holds it exclusively, and only for as long as it takes to decide which ones.
        """
        return locked(self.state / "lock", "the state directory", alone=alone, seconds=seconds)

    def host(self, host: str, seconds: float = PATIENCE) -> AbstractContextManager[None]:
        """Hold one host's generations exclusively, to look at them and change them."""
        return locked(self.state / "locks" / host, f"host {host}", seconds=seconds)

    def rollouts(self, seconds: float = PATIENCE) -> AbstractContextManager[None]:
        """Hold the right to carry rollouts on."""
        return locked(self.state / "rollouts", "what rollouts do", seconds=seconds)


@contextmanager
def locked(
    file: Path, purpose: str, *, alone: bool = True, seconds: float = PATIENCE
) -> Iterator[None]:
    """Hold the lock of a file, exclusively or shared.

    `purpose` names what the lock protects, for the error that is raised if it cannot be had within
    `seconds`.
    """
    descriptor = _opened(file)
    try:
        _acquire(descriptor, file, purpose, alone, seconds)
        yield
    finally:
        os.close(descriptor)


def _opened(file: Path) -> int:
    """Open the file for reading if it exists: this is enough for a lock, even on a read-only
    disk."""
    try:
        try:
            return os.open(file, os.O_RDONLY | os.O_CLOEXEC)
        except FileNotFoundError:
            descriptor = os.open(file, os.O_RDONLY | os.O_CREAT | os.O_CLOEXEC, FILE_MODE)
            os.fchmod(descriptor, FILE_MODE)
            return descriptor
    except OSError as error:
        raise StorebootError(f"cannot lock {file}: {error.strerror}", _SAME_USER) from None


def _acquire(descriptor: int, file: Path, purpose: str, alone: bool, seconds: float) -> None:
    """Take the lock by trying again and again, because flock(2) has no time limit."""
    kind = fcntl.LOCK_EX if alone else fcntl.LOCK_SH
    deadline, pause = time.monotonic() + seconds, _FIRST_PAUSE
    while True:
        with suppress(BlockingIOError):
            fcntl.flock(descriptor, kind | fcntl.LOCK_NB)
            return
        if time.monotonic() >= deadline:
            raise StorebootError(
                f"{purpose} has been locked for more than {seconds:.0f} s{_by(descriptor)}",
                f"wait for that process or stop it, and try again; the lock file is {file}",
            )
        time.sleep(pause)
        pause = min(2 * pause, _LONGEST_PAUSE)


def _by(descriptor: int) -> str:
    """Return who holds the lock, if the kernel says so: " by process 7 (storeboot gc)"."""
    found = []
    with suppress(OSError, ValueError, IndexError):
        number = str(os.fstat(descriptor).st_ino)
        for line in _PROC_LOCKS.read_text().splitlines():
            words = line.split()  # 1: FLOCK ADVISORY WRITE 708 00:13:1234 0 EOF
            if words[1] == "FLOCK" and words[5].rpartition(":")[2] == number:
                found.append(_process(words[4]))
    return f" by {', '.join(sorted(set(found)))}" if found else ""


def _process(pid: str) -> str:
    try:
        words = Path("/proc", pid, "cmdline").read_bytes().decode(errors="replace").split("\0")
    except OSError:
        return f"process {pid}"
    return f"process {pid} ({' '.join(words).strip()[:100]})"
