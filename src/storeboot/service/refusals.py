"""Why a machine is not given what it asks for; the words are for its console."""

from __future__ import annotations


class RefusedError(Exception):
    """A machine asked for what it may not have."""


class ReplayError(Exception):
    """A request that was answered to a machine that has gone on since."""


class BusyError(Exception):
    """The machine may ask again."""


class NotAskedError(Exception):
    """A machine sends what nobody wants to have from it."""


class OutdatedError(Exception):
    """Others have come since."""


class UnavailableError(Exception):
    """The server cannot do it just now; the reason is in its log."""


class NotKeptError(Exception):
    """There is no room for it."""


class CutShortError(Exception):
    """Less has come than was announced."""
