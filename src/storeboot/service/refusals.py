"""Reasons why a machine does not get what it asks for. The message is shown on its console."""

from __future__ import annotations


class RefusedError(Exception):
    """The machine may not have what it asked for."""


class ReplayError(Exception):
    """The request was answered before, and the machine has gone on since."""


class BusyError(Exception):
    """The machine may ask again."""


class NotAskedError(Exception):
    """The machine sends something that is not accepted from machines of its kind."""


class OutdatedError(Exception):
    """The machine sends something of a boot that newer ones have replaced."""


class UnavailableError(Exception):
    """The server cannot do it right now. The reason is in its log."""


class NotKeptError(Exception):
    """The server has no room for what the machine sends."""


class CutShortError(Exception):
    """The machine sent less than it had announced."""
