"""Defines errors that an operator can act on.

One line names the thing, and one says what to do."""

from __future__ import annotations


class StorebootError(Exception):
    """Ends a command with `error:` and `hint:` on stderr and exit status 1."""

    def __init__(self, message: str, hint: str | None = None) -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint


class ConfigError(StorebootError):
    """The configuration file cannot be used."""


class CommandError(StorebootError):
    """A program that was started did not do its work."""


class StoreError(StorebootError):
    """A store path is not there, or not what it should be."""


class UnbootableError(StorebootError):
    """A store path is not a system that can be booted without a disk."""


class BootError(StorebootError):
    """A machine did not boot as it should have."""


class DamagedError(StorebootError):
    """A file of the state directory is not what was written there, and cannot be made again."""
