"""Tells a list of listeners what happens to machines.

Each listener has one method and decides for itself which events concern it. If it learns of an
earlier event, it returns that one, and all listeners are told of it too. So a listener does not
need to know the other listeners, or who tells it.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Protocol

import structlog

from storeboot.hosts.boot import Event
from storeboot.protocol.stages import Stage

log = structlog.get_logger()
# How long a caller waits for an event to be recorded and acted on. An agent carries on after five
# seconds, whatever the answer is.
EVENT_SECONDS = 20.0


@dataclass(frozen=True, slots=True)
class Happening:
    """An event of a machine, and how many seconds the caller can wait until it is recorded."""

    event: Event
    patience: float = EVENT_SECONDS


class Listener(Protocol):
    """Is told of every event, in the event loop, before the next listener is."""

    async def heard(self, happening: Happening) -> Iterable[Event]:
        """Act on an event; return earlier events that it reveals, which all listeners are told
        first."""
        ...


class Happenings:
    """The listeners, in the order in which they are told."""

    def __init__(self, listeners: Sequence[Listener]) -> None:
        self._listeners = tuple(listeners)

    async def tell(self, event: Event, patience: float = EVENT_SECONDS) -> None:
        """Tell every listener of an event; return when all of them are done."""
        happening = Happening(event, patience)
        for listener in self._listeners:
            for earlier in await listener.heard(happening):
                await self.tell(earlier)


class Journal:
    """Writes a line to the server's log for each event."""

    async def heard(self, happening: Happening) -> tuple[()]:
        event = happening.event
        if event.stage == Stage.LOOP:  # in the log once a minute: `Rounds`
            return ()
        log.info("boot.event", host=event.host, boot=event.boot, stage=event.stage,
                 detail=event.detail.partition("\n")[0] or None)  # fmt: skip
        return ()
