"""Sizes that both protocols tell their clients and enforce."""

from __future__ import annotations

MAX_READ = 1 << 20  # bytes of file data in one reply
MAX_REPLY = MAX_READ + 4096
MAX_LISTING = 128 << 10  # bytes of directory entries in one reply
MAX_REQUEST = 64 << 10  # no call of a client that only reads is larger
MAX_WRITE = 32 << 10  # told to clients that ask, though every write is refused
MAX_FILE_SIZE = (1 << 63) - 1
TIME_SECONDS = 1  # Nix sets every mtime to 1970-01-01 00:00:01
MAX_CACHED_REPLY = 4096
LEASE_SECONDS = 3600  # with a short lease, clients return idle delegations
REPLY_MEMORY = 16 << 20  # bytes of cached replies, in each process
