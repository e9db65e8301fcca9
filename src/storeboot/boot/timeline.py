"""A boot as stages with times: where a machine is, since when, and what it said last."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from storeboot.hosts.boot import DOWN, FAILED, REFUSED, UP, Boot, Event

__all__ = ["DOWN", "FAILED", "REFUSED", "UP", "Boot", "Event"]

# In the order in which a boot passes them; source in brackets.
STAGES = {
    "address": "its firmware was given an address or a boot file (dhcp)",
    "firmware": "its firmware fetched iPXE (dhcp)",
    "script": "the server gave the boot script (server)",
    "kernel": "the kernel was fetched (server)",
    "initrd": "the initrd was fetched (server)",
    "drivers": "the boot NIC is there (initrd)",
    "network": "the machine has an address (initrd)",
    "begin": "the boot has begun (initrd)",
    "mount": "the store is mounted (initrd)",
    "pack": "the pack is mounted (initrd)",
    "overlay": "the store can be written to (initrd)",
    "prepare": "stage 2 is prepared (initrd)",
    "switch-root": "stage 2 starts (initrd)",
    "stage-2": "stage 2 reads the store (nfs)",
    "agent": "the agent runs (agent)",
    "multi-user": "the machine is up (agent)",
    "shutdown": "the machine goes down (agent)",
}
SILENT = "silent"  # a machine whose own initrd boots it, and that says nothing itself
PLAIN = "plain"  # its pack; it goes on without
FIRMWARE = frozenset({"address", "firmware"})  # before the script
NOTES = frozenset({REFUSED, PLAIN})


@dataclass(frozen=True, slots=True)
class Step:
    """A stage that was passed."""

    stage: str
    at: float  # seconds since 1970, UTC
    seconds: float  # since the first step
    detail: str = ""


@dataclass(frozen=True, slots=True)
class State:
    """Where a machine is."""

    stage: str
    since: float | None
    failure: str = ""

    @property
    def meaning(self) -> str:
        return STAGES.get(self.stage, "nothing was heard of it" if not self.since else self.stage)


def steps(events: Iterable[Event], start: float | None = None) -> list[Step]:
    """Stages in the order in which they were passed, each once."""
    seen: dict[str, Step] = {}
    for event in events:
        if event.stage in seen or event.stage == REFUSED:
            continue
        start = event.at if start is None else start
        seen[event.stage] = Step(event.stage, event.at, event.at - start, event.detail)
    return sorted(seen.values(), key=lambda step: step.at)


def state(events: Iterable[Event]) -> State:
    """The last stage; a failure with the machine's own words."""
    passed = (event for event in events if event.stage not in NOTES)
    last = max(passed, key=lambda event: event.at, default=None)
    if last is None:
        return State("never", None)
    failure = last.detail.partition("\n")[0] if last.stage in (FAILED, SILENT) else ""
    return State(last.stage, last.at, failure)


def last_boot(events: Iterable[Event], boot: Boot | None) -> list[Event]:
    """The events from the newest script on: what the firmware asked for, and what came of it.

    A machine that has given a sign of life since is still in its boot, whoever asked the server
    for its script meanwhile.
    """
    own = [event for event in events if not _is_strangers(event, boot)]
    scripts = [at for at, event in enumerate(own) if event.stage == "script"]
    # A Raspberry Pi is given none: there the boot's own first word counts.
    begun = (at for at, event in enumerate(own) if boot is not None and event.boot == boot.id)
    start = scripts[-1] if scripts else next(begun, 0)
    while start > 0 and own[start - 1].stage in FIRMWARE:
        start -= 1
    return own[start:]


def _is_strangers(event: Event, boot: Boot | None) -> bool:
    if boot is None or event.boot is not None:
        return False
    return boot.ended_at is None and boot.began_at < event.at <= boot.seen_at
