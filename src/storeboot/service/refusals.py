"""The reasons why a machine does not get what it asks for. Its console shows the message."""

from __future__ import annotations


class RefusedError(Exception):
    """The machine may not have what it asked for."""

    def __init__(self, reason: str, host: str = "") -> None:
        """`host` is the host that the machine is, if it is one."""
        super().__init__(reason)
        self.host = host


class ReplayError(Exception):
    """The request was answered before, and the machine has carried on since."""


class BusyError(Exception):
    """The machine may ask again."""


class NotAskedError(Exception):
    """The machine sends something that is not accepted from machines like it."""


class OutdatedError(Exception):
    """The machine sends something of a boot that newer boots have replaced."""


class UnavailableError(Exception):
    """The server cannot do it at the moment. The reason is in its log."""


class NotKeptError(Exception):
    """The server has no room for what the machine sends."""


class CutShortError(Exception):
    """The machine sent less than it had announced."""
