"""The server key: 32 random bytes in `server.key`, readable only by the owner."""

from __future__ import annotations

import secrets
from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path

import structlog

from storeboot import files
from storeboot.errors import DamagedError

log = structlog.get_logger()
KEY_SIZE = 32
_SAME_USER = "run commands as the user that `storeboot serve` runs as"


@dataclass(frozen=True, slots=True)
class ServerKey:
    """The secret behind filehandles, mount tokens and agent keys.

    `is_used` returns whether anything may depend on the key; `alone` keeps that so for a block.
    """

    file: Path
    is_used: Callable[[], bool]
    alone: Callable[[], AbstractContextManager[None]]

    def get(self) -> bytes:
        """Return the key; create it at the first start.

        Raises DamagedError if the key was cut off after something had come to depend on it.
        """
        if not self.file.exists():
            with files.reported("cannot make the server's key", _SAME_USER):
                files.link_new(self.file, secrets.token_bytes(KEY_SIZE))
        key = self._read()
        if len(key) != KEY_SIZE and not self.is_used():
            key = self._make_again()
        if len(key) != KEY_SIZE:
            raise DamagedError(
                f"{self.file} has {len(key)} bytes instead of {KEY_SIZE}",
                "restore it from a backup; a new one makes every running machine's handles stale",
            )
        return key

    def _read(self) -> bytes:
        with files.reported("cannot read the server's key", _SAME_USER):
            return self.file.read_bytes()

    def _make_again(self) -> bytes:
        """Replace a key that was cut off at the first start, and so was never used."""
        with self.alone():
            key = self._read()
            if len(key) != KEY_SIZE and not self.is_used():
                log.warning("state.key_made_again", file=str(self.file), bytes=len(key))
                key = secrets.token_bytes(KEY_SIZE)
                with files.reported("cannot make the server's key", _SAME_USER):
                    files.write(self.file, key, files.SECRET_MODE)
        return key
