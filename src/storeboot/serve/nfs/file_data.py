"""Moves file data from the page cache to a socket; a thread first reads what is not in the cache.

The event loop must never wait for a disk, so each slice is looked up in the page cache before it is
read or sent from there.
"""

from __future__ import annotations

import asyncio
import errno
import os
import socket
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

from storeboot.nfs.v4.clients import Peer
from storeboot.nfs.xdr import FileSlice

PROBE = 256 << 10  # bytes between two samples of the page cache
_readers = ThreadPoolExecutor(8, "nfs-disk")


class UnreadableError(Exception):
    """The bytes of a file cannot be read, although a reply has promised them."""

    def __init__(self, data: FileSlice, error: OSError) -> None:
        super().__init__(error.strerror)
        self.data = data
        self.error = error


class FileData:
    """The files that one connection's peer reads. `descriptor` opens files and keeps them open."""

    def __init__(self, peer: Peer, descriptor: Callable[[FileSlice, Peer], int]) -> None:
        self._peer = peer
        self._descriptor = descriptor
        self._cached: FileSlice | None = None  # the rest of a slice that was found in the cache

    def read(self, data: FileSlice, into: memoryview) -> bool:
        """Read a whole slice from the page cache; return whether it was there."""
        descriptor = self._descriptor(data, self._peer)
        try:
            return os.preadv(descriptor, [into], data.offset, os.RWF_NOWAIT) == data.count
        except BlockingIOError:
            return False
        except OSError:  # the file system does not support RWF_NOWAIT
            try:
                return os.preadv(descriptor, [into], data.offset) == data.count
            except OSError as error:
                raise UnreadableError(data, error) from None

    def send(self, connection: socket.socket, data: FileSlice) -> int | None:
        """Send from the page cache by sendfile(2).

        Return how many bytes the socket took, or None if the slice is not in the page cache. Raise
        BlockingIOError if the socket takes nothing.
        """
        descriptor = self._descriptor(data, self._peer)
        if not self._is_known_cached(data) and not _is_cached(descriptor, data):
            return None
        try:
            sent = os.sendfile(connection.fileno(), descriptor, data.offset, data.count)
        except OSError as error:
            if error.errno == errno.EIO:  # any other error is the socket's
                raise UnreadableError(data, error) from None
            raise
        if not sent:
            raise _shorter(data)
        self._cached = data.behind(sent) if sent < data.count else None
        return sent

    def _is_known_cached(self, data: FileSlice) -> bool:
        """Return whether this is the rest of a slice that was found in the page cache."""
        return self._cached is not None and self._cached == data

    def fetch(self, data: FileSlice) -> asyncio.Future[None]:
        """Have a thread read a slice into the page cache; return a future that completes then."""
        own = os.dup(self._descriptor(data, self._peer))  # the original may be closed before it
        job = _readers.submit(_read_through, own, data)
        job.add_done_callback(lambda _job: os.close(own))  # also if the job never began
        return asyncio.wrap_future(job)


def _shorter(data: FileSlice) -> UnreadableError:
    """Return the error for a file that has fewer bytes than when it was indexed."""
    return UnreadableError(data, OSError(errno.EIO, "it was changed in place"))


def _is_cached(descriptor: int, data: FileSlice) -> bool:
    """Return whether the page cache has a slice, judged by samples, since it is read in larger
    pieces.

    A wrong answer costs one wait for the disk, and nothing else.
    """
    end = data.offset + data.count
    probe = bytearray(1)
    try:
        for offset in (*range(data.offset, end, PROBE), end - 1):
            if not os.preadv(descriptor, [probe], offset, os.RWF_NOWAIT):
                return False
    except BlockingIOError:
        return False
    except OSError:
        return True
    return True


def _read_through(descriptor: int, data: FileSlice) -> None:
    """Read a slice so that the page cache has it; raise UnreadableError if it cannot be read."""
    done = 0
    while done < data.count:
        try:
            piece = os.pread(descriptor, min(1 << 18, data.count - done), data.offset + done)
        except OSError as error:
            raise UnreadableError(data, error) from None
        if not piece:
            raise _shorter(data)
        done += len(piece)
