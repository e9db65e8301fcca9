"""Sizes that both protocols tell their clients and hold them to."""

from __future__ import annotations

MAX_READ = 1 << 20  # bytes of file data in one reply
MAX_REPLY = MAX_READ + 4096
MAX_LISTING = 128 << 10  # bytes of directory entries in one reply
MAX_REQUEST = 64 << 10  # nothing that a reader asks is larger
MAX_WRITE = 32 << 10  # told to clients that ask; every write is refused
MAX_FILE_SIZE = (1 << 63) - 1
TIME_SECONDS = 1  # Nix sets every mtime to 1970-01-01 00:00:01
MAX_CACHED_REPLY = 4096
LEASE_SECONDS = 3600  # short leases make clients hand idle delegations back
REPLY_MEMORY = 16 << 20  # bytes of kept replies, in each process
