"""Listeners hear of what happens; deciders of what was written down."""

from __future__ import annotations

from dataclasses import dataclass, field

from storeboot.errors import StorebootError
from storeboot.hosts.boot import Boot, Event
from storeboot.protocol.stages import Stage
from storeboot.service.decisions import Decision, Decisions
from storeboot.service.happenings import Happening, Happenings
from storeboot.service.late import LateRecords

MOUNT = Event("lab1", "nfs", "mount", 5.0)
AGENT = Event("lab1", "agent", "agent", 9.0, boot="b1")


@dataclass
class Ears:
    """Shares a list of what was heard with others; reveals an earlier event at the agent's."""

    name: str
    heard_by: list[tuple[str, str]]
    reveals: tuple[Event, ...] = ()

    async def heard(self, happening: Happening) -> tuple[Event, ...]:
        self.heard_by.append((self.name, happening.event.stage))
        return self.reveals if happening.event == AGENT else ()


async def test_what_a_listener_reveals_is_told_to_all_before_the_next_one_hears() -> None:
    heard: list[tuple[str, str]] = []
    one, two = Ears("one", heard, reveals=(MOUNT,)), Ears("two", heard)
    await Happenings([one, two]).tell(AGENT)
    assert heard == [("one", "agent"), ("one", "mount"), ("two", "mount"), ("two", "agent")]


async def test_listeners_are_told_how_long_the_caller_waits() -> None:
    patience: list[float] = []

    class Asks:
        async def heard(self, happening: Happening) -> tuple[()]:
            patience.append(happening.patience)
            return ()

    happenings = Happenings([Asks()])
    await happenings.tell(AGENT, 6.0)
    await happenings.tell(AGENT)
    assert patience == [6.0, 20.0]


@dataclass
class Decider:
    """Fails so many times before it takes records."""

    failures: int = 0
    heard_of: list[Boot | Event] = field(default_factory=list)

    def heard(self, record: Boot | Event) -> None:
        if self.failures:
            self.failures -= 1
            raise StorebootError("the disk is full")
        self.heard_of.append(record)


def test_a_record_that_could_not_be_decided_is_told_to_all_again() -> None:
    first, second, late = Decider(), Decider(failures=2), LateRecords()
    decisions = Decisions([first, second], late, lambda _boot: "lab1")
    up = Event("lab1", "agent", Stage.MULTI_USER, 9.0, boot="b1")
    decisions.follow(Decision(up))
    assert late.has_of("lab1")
    decisions.catch_up()
    assert late.has_of("lab1")
    decisions.catch_up()
    assert not late
    assert (first.heard_of, second.heard_of) == ([up, up, up], [up])


def test_deciders_are_told_the_host_of_a_boot_that_was_not_known_when_it_spoke() -> None:
    decider = Decider()
    decisions = Decisions([decider], LateRecords(), {"b1": "lab1"}.__getitem__)
    decision = Decision(Event("", "agent", Stage.REFUSED, 9.0, boot="b1"))
    assert not decision.begun
    decisions.follow(decision)
    assert decision.begun
    (heard,) = decider.heard_of
    assert heard.host == "lab1"


def test_what_decides_nothing_is_not_kept_when_it_is_late() -> None:
    late = LateRecords()
    late.note(AGENT)
    late.note(Event("lab1", "server", Stage.MULTI_USER, 9.0))  # of no boot
    assert not late
