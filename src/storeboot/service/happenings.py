"""What happens to machines, told to everybody who wants to know.

Each listener has one method and decides by itself what concerns it. What a listener finds out on
the way is returned by it and told as well; no listener knows another one, or who tells it.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Protocol

import structlog

from storeboot.hosts.boot import Event

log = structlog.get_logger()
# So long a record, and what follows from it, is waited for. An agent that has told something goes
# on after five seconds, whatever it is answered.
EVENT_SECONDS = 20.0


@dataclass(frozen=True, slots=True)
class Happening:
    """Something that was seen of a machine, and how long whoever tells of it can wait."""

    event: Event
    patience: float = EVENT_SECONDS


class Listener(Protocol):
    """Hears of everything, in the event loop, before the next listener does."""

    async def heard(self, happening: Happening) -> Iterable[Event]:
        """Do what follows; return what has become known of the time before, to be told first."""
        ...


class Happenings:
    """The listeners, in the order in which they hear."""

    def __init__(self, listeners: Sequence[Listener]) -> None:
        self._listeners = tuple(listeners)

    async def tell(self, event: Event, patience: float = EVENT_SECONDS) -> None:
        """Tell all listeners; return when all are done with it."""
        happening = Happening(event, patience)
        for listener in self._listeners:
            for earlier in await listener.heard(happening):
                await self.tell(earlier)


class Journal:
    """The server's log: a line for each happening, once it was written or has waited for it."""

    async def heard(self, happening: Happening) -> tuple[()]:
        event = happening.event
        log.info("boot.event", host=event.host, boot=event.boot, stage=event.stage,
                 detail=event.detail.partition("\n")[0] or None)  # fmt: skip
        return ()
