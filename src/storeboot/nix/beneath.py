"""Opens files below a directory without following a link on the way: openat2(2).

Checking a path and opening it afterwards would leave a moment in which a directory can be replaced
by a link. So the kernel refuses links at every step of the path. If it cannot (before Linux 5.6, or
behind a system call filter), each step is opened from the previous one.
"""

from __future__ import annotations

import ctypes
import errno
import os
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from struct import Struct

_OPENAT2 = 437  # its number on every architecture
_RESOLVE = 0x08 | 0x04 | 0x02  # RESOLVE_BENEATH, RESOLVE_NO_SYMLINKS, RESOLVE_NO_MAGICLINKS
_AT_FDCWD = -100
DIRECTORY = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
# O_NONBLOCK: a FIFO or device in place of a file is opened without waiting, and then refused.
FILE = os.O_RDONLY | os.O_NONBLOCK | os.O_NOFOLLOW | os.O_NOCTTY | os.O_CLOEXEC
_STEP = os.O_PATH | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC


_HOW = Struct("=QQQ")  # struct open_how: flags, mode, resolve

_libc = ctypes.CDLL(None, use_errno=True)


def open_beneath(directory: int, path: bytes, flags: int) -> int:
    """Open `path`, relative to the open `directory`; return a descriptor.

    Raises OSError: ELOOP or ENOTDIR for a link on the way, EXDEV for a path that leads out.
    """
    if not _kernel_resolves():
        return _walk(directory, path, flags)
    try:
        return _openat2(directory, path, flags)
    except OSError as error:
        if error.errno != errno.ENAMETOOLONG:
            raise
        return _walk(directory, path, flags)  # a path may be longer than one system call accepts


@contextmanager
def opened(path: bytes) -> Iterator[int]:
    """Open a directory as the start of steps; its own path may contain links."""
    descriptor = os.open(path, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        yield descriptor
    finally:
        os.close(descriptor)


def _openat2(directory: int, path: bytes, flags: int) -> int:
    how = _HOW.pack(flags, 0, _RESOLVE)
    descriptor: int = _libc.syscall(
        ctypes.c_long(_OPENAT2), ctypes.c_int(directory), ctypes.c_char_p(path),
        ctypes.c_char_p(how), ctypes.c_size_t(len(how)),
    )  # fmt: skip
    if descriptor < 0:
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number), os.fsdecode(path))
    return descriptor


@cache
def _kernel_resolves() -> bool:
    """Return whether openat2 works here; a filter that does not know it says ENOSYS or EPERM."""
    try:
        os.close(_openat2(_AT_FDCWD, b".", _STEP))
    except OSError as error:
        return error.errno not in (errno.ENOSYS, errno.EPERM)
    return True


def _walk(directory: int, path: bytes, flags: int) -> int:
    """Do the same with one descriptor per step."""
    *steps, last = path.split(b"/")
    if b".." in (*steps, last):
        raise OSError(errno.EXDEV, os.strerror(errno.EXDEV), os.fsdecode(path))
    at = directory
    try:
        for step in steps:
            below = os.open(step, _STEP, dir_fd=at)
            if at != directory:
                os.close(at)
            at = below
        return os.open(last, flags | os.O_NOFOLLOW, dir_fd=at)
    finally:
        if at != directory:
            os.close(at)
