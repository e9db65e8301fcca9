"""A boot as stages with times, and which of a host's events belong to its latest boot."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from storeboot.hosts.boot import Boot, Event
from storeboot.protocol.stages import CONCLUSIONS, OF_FIRMWARE, Stage


@dataclass(frozen=True, slots=True)
class Step:
    """A stage that was passed."""

    stage: str
    at: float  # seconds since 1970, UTC
    seconds: float  # since the first step
    detail: str = ""


def steps(events: Iterable[Event], start: float | None = None) -> list[Step]:
    """Return the stages in the order in which they were passed, each once."""
    seen: dict[str, Step] = {}
    for event in events:
        if event.stage == Stage.REFUSED or (event.stage in seen and not _is_newer(event)):
            continue
        start = event.at if start is None else start
        seen[event.stage] = Step(event.stage, event.at, event.at - start, event.detail)
    return sorted(seen.values(), key=lambda step: step.at)


def _is_newer(event: Event) -> bool:
    """Return whether an event replaces the one before of its stage: how far it is, how often."""
    return event.stage in CONCLUSIONS


def last_boot(events: Iterable[Event], boot: Boot | None) -> list[Event]:
    """Return the events from the newest script on: what the firmware asked for, and the result.

    A machine that has given a sign of life since then is still in its boot, even if somebody has
    asked the server for its script in the meantime.
    """
    own = [event for event in events if not _is_strangers(event, boot)]
    scripts = [at for at, event in enumerate(own) if event.stage == Stage.SCRIPT]
    # A Raspberry Pi gets no script; there the boot's own first event counts.
    begun = (at for at, event in enumerate(own) if boot is not None and event.boot == boot.id)
    start = scripts[-1] if scripts else next(begun, 0)
    while start > 0 and own[start - 1].stage in OF_FIRMWARE:
        start -= 1
    return own[start:]


def _is_strangers(event: Event, boot: Boot | None) -> bool:
    if boot is None or event.boot is not None:
        return False
    return boot.ended_at is None and boot.began_at < event.at <= boot.seen_at
