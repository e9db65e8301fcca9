"""Writes files: nothing else in the program does.

A file appears under its name only when it is whole: it is written under another name in the same
directory, `.NAME.UNIQUE.partial`, and renamed. Two kinds of files are told apart:

- What is promised or cannot be made again is durable: the data is synced before the rename, and the
  directory after it, so that a power cut leaves the old file or the new one (fsync(2), rename(2)).
- What can be made again (`durable=False`) is only renamed. After a power cut it may be empty or
  old, so whoever reads such a file has to check it and make it again. It costs no sync: a hundred
  machines that boot at once must not wait for a hundred syncs.

Modes do not depend on the umask. A writer holds a lock on its partial file (flock(2)), so `sweep`
knows those that a killed process has left behind. Errors are OSErrors, and nothing is left behind.
"""

from __future__ import annotations

import ctypes
import errno
import fcntl
import hashlib
import os
import pwd
import secrets
import shutil
import threading
from collections import OrderedDict
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from storeboot.errors import StorebootError

FILE_MODE = 0o640
DIRECTORY_MODE = 0o750
SECRET_MODE = 0o600
# These errors pass. Any other error would occur again at the next try.
PASSING = frozenset({errno.EMFILE, errno.ENFILE, errno.ENOMEM, errno.EAGAIN, errno.EINTR})
_SUFFIX = ".partial"
_ROOM = 1 << 16  # bytes; SQLite needs 32 KiB beside its file to open it
_REMEMBERED = 4096  # files that were found right
_LIBC = ctypes.CDLL(None, use_errno=True)  # os has no syncfs


def write(path: Path, data: bytes | str, mode: int = FILE_MODE, *, durable: bool = True) -> None:
    """Put a file in its place, whole, also over an older one."""
    with publish(path, mode, durable=durable) as place:
        _fill(place, data)


@contextmanager
def publish(path: Path, mode: int = FILE_MODE, *, durable: bool = True) -> Iterator[Path]:
    """Let somebody else, such as another program, write a file, and put it in its place.

    Yields the path of an empty file to write to. The file gets its own name when the block ends
    without an exception, and is removed otherwise.
    """
    with _partial(path, mode) as place:
        yield place
        if durable:
            sync(place)
        place.replace(path)
    if durable:
        sync_directory(path.parent)


def link_new(path: Path, data: bytes | str, mode: int = SECRET_MODE) -> bool:
    """Put a file in its place unless there is one already; return whether it was put there.

    It is durable. When this returns, the file under that name is on disk, whoever wrote it.
    """
    with _partial(path, mode) as place:
        _fill(place, data)
        sync(place)
        try:
            path.hardlink_to(place)
        except FileExistsError:
            made = False
        else:
            made = True
        place.unlink()
    sync_directory(path.parent)
    return made


def copy(source: Path, path: Path, mode: int = FILE_MODE, *, durable: bool = False) -> None:
    """Copy a file, unless its copy is there and the same. Copies can be made again."""
    if path.exists() and checked.same(path, source):
        return
    with publish(path, mode, durable=durable) as place:
        shutil.copyfile(source, place)


def make_directory(path: Path, mode: int = DIRECTORY_MODE, *, durable: bool = True) -> None:
    """Make a directory, and those above it; one that is there already stays as it is."""
    if path.is_dir():
        return
    make_directory(path.parent, mode, durable=durable)
    try:
        path.mkdir(mode)
    except FileExistsError:
        if not path.is_dir():
            raise
    else:
        path.chmod(mode)  # the umask may have taken more away
    if durable:
        sync_directory(path.parent)


def remove(path: Path, *, durable: bool = True) -> bool:
    """Remove a file or a symlink if it is there; return whether it was."""
    try:
        path.unlink()
    except FileNotFoundError:
        return False
    if durable:
        sync_directory(path.parent)
    return True


def remove_tree(path: Path, *, durable: bool = False) -> None:
    """Remove a directory with all that is in it, if it is there."""
    with suppress(FileNotFoundError):
        shutil.rmtree(path)
        if durable:
            sync_directory(path.parent)


def touch(path: Path, mode: int = FILE_MODE) -> None:
    """Set a file's times to now, without a sync; make it, durably, if it is not there."""
    try:
        os.utime(path)
    except FileNotFoundError:
        write(path, b"", mode)


def restrict(path: Path, mode: int) -> None:
    """Remove the permissions that `mode` does not have, if this user may do so."""
    with suppress(FileNotFoundError, PermissionError):
        has = path.stat().st_mode & 0o7777
        if has & ~mode:
            path.chmod(has & mode)


def sync(path: Path) -> None:
    """Wait until a file's data is on disk; its name is another matter."""
    _sync(path, os.O_RDONLY)


def sync_directory(path: Path) -> None:
    """Wait until the names in a directory are on disk: files made, renamed, linked and removed."""
    try:
        _sync(path, os.O_RDONLY | os.O_DIRECTORY)
    except OSError as error:
        if error.errno != errno.EINVAL:  # a file system that has no such sync
            raise


def sync_file_system(path: Path) -> None:
    """Wait until all that was written to a file system is on disk (syncfs(2)); `path` is in it."""
    descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        if _LIBC.syncfs(descriptor) != 0:
            number = ctypes.get_errno()
            raise OSError(number, os.strerror(number), str(path))
    finally:
        os.close(descriptor)


@contextmanager
def reported(what: str, hint: str | None = None) -> Iterator[None]:
    """Turn what a disk refuses into an error that an operator can act on.

    `hint` is for errors whose cure does not follow from the error itself.
    """
    try:
        yield
    except OSError as error:
        raise StorebootError(f"{what}: {described(error)}", cure(error) or hint) from None


def described(error: OSError) -> str:
    """Return which file an error is about, and the error."""
    place = f"{os.fsdecode(error.filename)}: " if error.filename else ""
    return f"{place}{error.strerror or error}"


def refusal(path: Path) -> OSError | None:
    """Return why a file and others beside it cannot be written, or None if they can.

    This writes nothing that stays: a full disk shows by a small file that has no name. It does not
    open the file, because closing it would end this process' locks on it (fcntl(2)).
    """
    place = path if os.access(path, os.F_OK) else path.parent
    try:
        if os.statvfs(place).f_flag & os.ST_RDONLY:
            return OSError(errno.EROFS, os.strerror(errno.EROFS), str(path))
        if not os.access(place, os.W_OK):
            return OSError(errno.EACCES, os.strerror(errno.EACCES), str(path))
        descriptor = os.open(path.parent, os.O_TMPFILE | os.O_RDWR | os.O_CLOEXEC, SECRET_MODE)
        try:
            os.posix_fallocate(descriptor, 0, _ROOM)
        finally:
            os.close(descriptor)
    except OSError as error:
        if error.errno in (errno.EOPNOTSUPP, errno.EISDIR):  # a file system without such files
            return None
        return OSError(error.errno, error.strerror, str(path))
    return None


def cure(error: OSError) -> str | None:
    """Return what an operator can do about an error, or None if that depends on the case."""
    place = Path(os.fsdecode(error.filename)) if isinstance(error.filename, str | bytes) else None
    where = f"the disk of {place.parent}" if place is not None else "the disk"
    if error.errno in (errno.ENOSPC, errno.EDQUOT):
        return f"make room on {where} and try again; what was not finished was not done"
    if error.errno == errno.EROFS:
        return f"mount {where} writable; dmesg says why if the kernel has made it read-only"
    if isinstance(error, PermissionError) and place is not None:
        return _who_may(place)
    return None


def _who_may(place: Path) -> str | None:
    """Return which user has access to a file: the owner of what is closed to this one."""
    for part in (place, *place.parents):
        with suppress(OSError):
            owner = part.lstat().st_uid
            if owner == os.geteuid():
                return f"look at the permissions of {part}: ls -ld {part}"
            name = _user(owner)
            return f"run the command as {name}, who owns {part}: sudo -u {name} storeboot …"
    return None


def _user(number: int) -> str:
    try:
        return pwd.getpwuid(number).pw_name
    except KeyError:
        return f"#{number}"


def sweep(directory: Path) -> list[Path]:
    """Remove what killed processes have left half-written in a directory; return those files."""
    swept = []
    for place in sorted(directory.glob(f".*{_SUFFIX}")) if directory.is_dir() else ():
        with suppress(OSError):
            descriptor = os.open(place, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK)
            try:
                fcntl.flock(
                    descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB
                )  # fails if it is being written
                place.unlink()
                swept.append(place)
            finally:
                os.close(descriptor)
    return swept


def is_partial(path: Path) -> bool:
    """Return whether a file is being written, or was when its writer was killed."""
    return path.name.startswith(".") and path.name.endswith(_SUFFIX)


def sha256(path: Path) -> str:
    """Return the SHA-256 of a file in hexadecimal digits."""
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


class Checked:
    """Remembers which files are what they were when they were made.

    A process reads a file once to check it, and again when its inode, size or modification time is
    not the one that was found right: damage that leaves all three alone is found at the next start.
    """

    def __init__(self) -> None:
        self._right: OrderedDict[tuple[object, ...], None] = OrderedDict()
        self._guard = threading.Lock()

    def match(self, path: Path, size: int, checksum: str) -> bool:
        """Return whether the file is there with this size and SHA-256 (in hexadecimal digits)."""
        try:
            if path.stat().st_size != size:
                return False
        except OSError:
            return False
        return self.holds(path, checksum, lambda file: sha256(file) == checksum)

    def same(self, copy: Path, source: Path) -> bool:
        """Return whether a copy is there, and has the same content as its source."""
        state = source.stat()
        what = f"{source} {state.st_ino} {state.st_size} {state.st_mtime_ns}"
        return self.holds(copy, what, lambda file: sha256(file) == sha256(source))

    def holds(self, path: Path, what: str, check: Callable[[Path], bool]) -> bool:
        """Return whether the file is there and passes `check`, which reads it and `what` names."""
        try:
            state = path.stat()
            seen = (what, state.st_dev, state.st_ino, state.st_size, state.st_mtime_ns)
            with self._guard:
                if seen in self._right:
                    self._right.move_to_end(seen)
                    return True
            if not check(path):
                return False
        except OSError:  # it is not there, or the disk cannot read it
            return False
        with self._guard:
            self._right[seen] = None
            while len(self._right) > _REMEMBERED:
                self._right.popitem(last=False)
        return True


checked = Checked()  # by this process


@contextmanager
def _partial(path: Path, mode: int) -> Iterator[Path]:
    """Make an empty file beside `path`, and lock it while it is written.

    Yields its path, and removes it when the block ends, unless it was renamed."""
    place, descriptor = _begin(path, mode)
    try:
        yield place
    finally:
        with suppress(OSError):
            place.unlink()
        os.close(descriptor)


def _begin(path: Path, mode: int) -> tuple[Path, int]:
    while True:
        # NAME_MAX is 255 bytes, and names of hosts and packs are far below it.
        place = path.with_name(f".{path.name}.{secrets.token_hex(4)}{_SUFFIX}")
        flags = os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW
        try:
            descriptor = os.open(place, flags, SECRET_MODE)
        except FileExistsError:
            continue
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        if os.fstat(descriptor).st_nlink:
            os.fchmod(descriptor, mode)
            return place, descriptor
        os.close(descriptor)  # `sweep` was faster than the lock


def _fill(place: Path, data: bytes | str) -> None:
    with place.open("r+b") as stream:
        stream.write(data.encode() if isinstance(data, str) else data)


def _sync(path: Path, flags: int) -> None:
    descriptor = os.open(path, flags | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
