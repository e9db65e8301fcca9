"""What a machine is doing, derived from what is known of it and how old that is.

Commands, tests, rollouts and pages all ask `derive`, so they never disagree. It has no clock and no
I/O: everything it may use is in `Evidence` and `Listening`.

A server can only know what a machine has told it. So each state says what was heard last and when,
and no state outlives its evidence: a machine that should send heartbeats and does not is silent,
whatever it reported before. Time in which no server listened counts against nobody.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass
from enum import StrEnum
from typing import Self

from storeboot.boot.times import clock, duration
from storeboot.hosts.boot import Boot, Event
from storeboot.hosts.refusals import Refusal
from storeboot.protocol.stages import EXPLAINED, NOTES, OF_UNITS, Source, Stage

SILENT_HEARTBEATS = 6  # that many in a row are missing: one or two get lost on any network
# A boot that has been in one stage for longer is stalled. The initrd waits 60 s for a link and 90 s
# for an address, and reboots 30 s after a failure; a firmware's own attempts are shorter.
STALL_SECONDS = 300.0
# The stages in which much is fetched, or in which stage 2 starts: units may take minutes, as
# systemd's own DefaultTimeoutStartSec= of 90 s applies to each of them.
SLOW_SECONDS = 600.0
# How the agent's words begin if the machine has come no further than to a shell.
_SHELLS = ("emergency", "rescue")
_SLOW = frozenset({Stage.AWAIT_PACK, Stage.SWITCH_ROOT, Stage.AGENT, Stage.WAITING})
_UNIT = re.compile(
    r"(?<![\w:.\\@-])[\w:.\\@-]+\."
    r"(?:service|mount|socket|target|device|swap|automount|path|timer|slice|scope)(?![\w:.\\@-])",
    re.ASCII,
)
_MEANINGS: dict[str, str] = {stage: stage.meaning for stage in Stage}
NEVER = "never"  # the stage of a machine that was not heard of


class Condition(StrEnum):
    """What a machine is doing, in one word."""

    meaning: str

    def __new__(cls, word: str, meaning: str) -> Self:
        member = str.__new__(cls, word)
        member._value_ = word
        member.meaning = meaning
        return member

    UNSEEN = "unseen", "nothing was heard of the machine"
    REFUSED = "refused", "the machine asked for something and was refused"
    BOOTING = "booting", "the machine boots"
    STALLED = "stalled", "the boot has been in one stage for too long"
    FAILED = "failed", "the boot has failed"
    STARTED = "started", "stage 2 has started; without an agent no more is known"
    UP = "up", "the machine has reached multi-user and sends heartbeats"
    DEGRADED = "degraded", "the machine is up, and units have failed"
    EMERGENCY = "emergency", "the machine is in emergency or rescue mode and does not come up"
    SILENT = "silent", "the machine sent heartbeats and has stopped"
    DOWN = "down", "the machine has shut down"


# The machine runs the system of its latest boot, as far as is known.
_RUNNING = frozenset({Condition.STARTED, Condition.UP, Condition.DEGRADED})
# From here on a boot has begun: the machine has its view and holds it.
_BEGUN = frozenset(
    {Stage.BEGIN, Stage.MOUNT, Stage.AWAIT_PACK, Stage.PACK, Stage.OVERLAY, Stage.PREPARE,
     Stage.SWITCH_ROOT, Stage.STAGE_2, Stage.AGENT, Stage.WAITING}
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class Listening:
    """When a server has listened to machines. Times in seconds since 1970."""

    until: float  # the present, if a server is running
    heartbeat: float  # seconds between two heartbeats of a machine
    since: float = 0.0  # without a gap until then

    @property
    def patience(self) -> float:
        """Return after how many seconds a machine that sends heartbeats is silent."""
        return SILENT_HEARTBEATS * self.heartbeat

    def quiet(self, heard_at: float) -> float:
        """Return for how many seconds nothing was heard while a server listened."""
        return max(0.0, self.until - max(heard_at, self.since))


@dataclass(frozen=True, slots=True)
class Evidence:
    """Everything that is known of a host's machine."""

    events: tuple[Event, ...] = ()  # of its latest boot, from what the firmware asked for on
    boot: Boot | None = None  # its `seen_at` is when the machine itself spoke last
    refusal: Refusal | None = None  # the last one of a machine that is this host


@dataclass(frozen=True, slots=True)
class MachineState:
    """What a machine is doing. Times in seconds since 1970."""

    condition: Condition
    stage: str  # the last one that was passed
    since: float | None  # when it was passed, or when the machine was refused
    seen_at: float | None  # the last sign of life
    as_of: float  # when this was the state
    reason: str = ""  # of a failure, a stall or a refusal, in the words of who told it
    units: tuple[str, ...] = ()  # that have failed, or that stage 2 waits for

    @property
    def is_running(self) -> bool:
        """Return whether the machine runs what it has booted, or is about to."""
        begun = self.condition in (Condition.BOOTING, Condition.STALLED)
        return self.condition in _RUNNING or (begun and self.stage in _BEGUN)

    @property
    def words(self) -> str:
        """Return one line for people."""
        meaning = _MEANINGS.get(self.stage, self.stage)
        why = f": {self.reason}" if self.reason else ""
        match self.condition:
            case Condition.UNSEEN:
                return "it has not been heard of"
            case Condition.REFUSED:
                return f"refused: {self.reason}"
            case Condition.SILENT:
                before = f"; before that {self.reason}" if self.reason else ""
                return f"no sign of life for {self._ago(self.seen_at)} ({self._seen}){before}"
            case Condition.STALLED:
                said = self.reason if self.stage in EXPLAINED else f"{meaning}{why}"
                place = "" if self.stage in EXPLAINED else f" in {self.stage}"
                return f"stalled{place} for {self._ago(self.since)}: {said} ({self._seen})"
            case Condition.FAILED:
                return self.reason or meaning
            case Condition.BOOTING if self.stage in EXPLAINED:
                return self.reason
            case Condition.EMERGENCY:
                return f"the machine is in {self.reason}"
            case Condition.DEGRADED:
                return f"the machine is up, but units have failed{why}"
            case Condition.STARTED | Condition.DOWN:
                return self.condition.meaning
            case _:
                return f"{meaning}{why}"

    def _ago(self, at: float | None) -> str:
        return duration(self.as_of - at) if at is not None else "long"

    @property
    def _seen(self) -> str:
        return f"last seen {clock(self.seen_at)}" if self.seen_at is not None else "no sign of life"


def derive(evidence: Evidence, listening: Listening) -> MachineState:
    """Return what the machine is doing."""
    last = last_stage(evidence)
    seen_at = _seen_at(evidence)
    refusal = evidence.refusal
    if refusal is not None and _is_newest(refusal, last, seen_at, listening):
        stage = last.stage if last is not None else NEVER
        return MachineState(Condition.REFUSED, stage, refusal.at, refusal.at, listening.until,
                            refusal.text)  # fmt: skip
    if last is None:
        return MachineState(Condition.UNSEEN, NEVER, None, seen_at, listening.until)
    condition, reason = _condition(last, evidence, seen_at, listening)
    return MachineState(condition, last.stage, last.at, seen_at, listening.until, reason,
                        units_of(last))  # fmt: skip


def is_speaking(boot: Boot, now: float, heartbeat: float) -> bool:
    """Return whether a boot's machine runs and can be told something at its next heartbeat."""
    listening = Listening(now, heartbeat)
    return boot.ended_at is None and listening.quiet(boot.seen_at) < listening.patience


def last_stage(evidence: Evidence) -> Event | None:
    """Return the event by which the machine came into the stage that it is in.

    The events of a boot may be lost, if the disk was full. Then the boot itself says that it has
    begun.
    """
    passed = [event for event in evidence.events if event.stage not in NOTES]
    boot = evidence.boot
    if boot is not None and not any(event.boot == boot.id for event in evidence.events):
        newer = [event for event in passed if event.at > boot.seen_at]
        if not newer:
            return Event(boot.host, Source.SERVER, Stage.BEGIN, boot.began_at, boot.id)
    # Of two in the same moment the one that was recorded later counts.
    return max(enumerate(passed), key=lambda each: (each[1].at, each[0]), default=(0, None))[1]


def units_of(event: Event) -> tuple[str, ...]:
    """Return the units that an agent has named with a stage, each once.

    They have failed, or stage 2 waits for them.
    """
    if event.source != Source.AGENT or event.stage not in (*OF_UNITS, Stage.FAILED):
        return ()
    return tuple(dict.fromkeys(_UNIT.findall(_first_line(event))))


def _first_line(event: Event) -> str:
    return event.detail.partition("\n")[0]


def _seen_at(evidence: Evidence) -> float | None:
    """Return when the machine gave its last sign of life. The server's conclusions are none."""
    own = [event.at for event in evidence.events if event.stage != Stage.SILENT]
    if evidence.boot is not None:
        own.append(evidence.boot.seen_at)
    return max(own, default=None)


def _is_newest(
    refusal: Refusal, last: Event | None, seen_at: float | None, listening: Listening
) -> bool:
    """Return whether a refusal is the last that is known of a machine.

    Anyone who knows a MAC address can ask in its name: a machine that was heard of within the last
    heartbeats has not asked.
    """
    if seen_at is None or last is None:
        return True
    runs = last.source == Source.AGENT and last.stage != Stage.SHUTDOWN
    speaks = runs and listening.quiet(seen_at) < listening.patience
    return refusal.at > seen_at and not speaks


def _condition(
    last: Event, evidence: Evidence, seen_at: float | None, listening: Listening
) -> tuple[Condition, str]:
    reason = _first_line(last)
    by_agent = last.source == Source.AGENT
    boot = evidence.boot
    match last.stage:
        case Stage.SILENT | Stage.LOOP:  # the server's own watch of boots that do not go on
            return Condition.STALLED, reason
        case Stage.NO_STORE:
            return Condition.FAILED, reason
        case Stage.STAGE_2:
            return Condition.STARTED, ""
        case Stage.SHUTDOWN:
            return Condition.DOWN, ""
        case _ if boot is not None and boot.ended_by == Stage.SHUTDOWN and last.boot == boot.id:
            return Condition.DOWN, ""
        case _ if by_agent and listening.quiet(seen_at or last.at) >= listening.patience:
            return Condition.SILENT, reason
        case Stage.FAILED:
            is_shell = by_agent and reason.startswith(_SHELLS)
            return (Condition.EMERGENCY if is_shell else Condition.FAILED), reason
        case Stage.MULTI_USER:
            return Condition.UP, ""
        case Stage.DEGRADED:
            return Condition.DEGRADED, reason
        case _:
            pass
    limit = SLOW_SECONDS if last.stage in _SLOW else STALL_SECONDS
    stalled = listening.quiet(last.at) >= limit
    said = reason if last.stage in (Stage.WAITING, Stage.DOWNLOAD) else ""
    return (Condition.STALLED if stalled else Condition.BOOTING), said


def latest_of(refusals: Iterable[Refusal], host: str) -> Refusal | None:
    """Return the last refusal of a machine that is this host, or None."""
    own = (each for each in refusals if each.host == host)
    return max(own, key=lambda each: each.at, default=None)
