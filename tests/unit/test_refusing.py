"""The last refusals: bounded, whoever asks, and told once a minute."""

from __future__ import annotations

from typing import Any, cast

import pytest
from structlog.testing import capture_logs

from storeboot.hosts.host import Machine
from storeboot.service.current import Current
from storeboot.service.refusals import BusyError, RefusedError
from storeboot.service.refusing import (
    MAX_ASKERS,
    MAX_LINES,
    MAX_LINES_OF_ADDRESS,
    Refusing,
)
from storeboot.service.work import Work

MAC = "52:54:00:00:00:01"


class Asking:
    """Stands for the pools: each question has the same answer."""

    def __init__(self, answer: str | Exception = "") -> None:
        self.answer = answer
        self.questions = 0

    async def ask(self, *_question: object) -> str:
        self.questions += 1
        if isinstance(self.answer, Exception):
            raise self.answer
        return self.answer


class Nowhere:
    inventory = None


def refusing(asking: Asking | None = None) -> Refusing:
    return Refusing(cast(Current, Nowhere()), cast(Work, asking or Asking()))


async def refuse(
    of: Refusing, mac: str, now: float, address: str = "10.0.0.1", why: str = "no", host: str = ""
) -> list[Any]:
    """Return what was logged."""
    with capture_logs() as lines:
        await of.note(Machine(mac=mac), address, RefusedError(why, host), now)
    return lines


async def test_who_asks_again_is_one_asker_and_has_one_line_a_minute() -> None:
    of = refusing()
    lines = [await refuse(of, MAC, 100.0 + second) for second in range(0, 130, 10)]
    (kept,) = of.all()
    assert (kept.mac, kept.first_at, kept.at, kept.count) == (MAC, 100.0, 220.0, 13)
    told = [second * 10 for second, said in enumerate(lines) if said]
    assert told == [0, 60, 120]
    assert lines[6][0]["count"] == 7


async def test_the_last_one_is_first_and_has_its_own_reason() -> None:
    of = refusing()
    await refuse(of, MAC, 1.0, why="host lab1 has no system", host="lab1")
    await refuse(of, "", 2.0, "10.0.0.2")
    await refuse(of, MAC, 3.0, why="host lab1 cannot boot", host="lab1")
    assert [(each.asker, each.text, each.host) for each in of.all()] == [
        (MAC, "host lab1 cannot boot", "lab1"),
        ("10.0.0.2", "no", ""),
    ]


async def test_the_log_says_which_host_may_be_meant() -> None:
    of = refusing(Asking("lab1"))
    (line,) = await refuse(of, MAC, 1.0)
    assert line["reason"] == "no; did you mean host lab1?"
    await refuse(of, MAC, 2.0)
    assert of.all()[0].text == "no; did you mean host lab1?"


async def test_of_a_known_host_nobody_asks_which_is_meant() -> None:
    asking = Asking("lab2")
    await refuse(of := refusing(asking), MAC, 1.0, host="lab1")
    assert (asking.questions, of.all()[0].like) == (0, "")


async def test_a_database_that_hangs_costs_the_suggestion_alone() -> None:
    of = refusing(Asking(BusyError("the server's disk or database does not answer")))
    (line,) = await refuse(of, MAC, 1.0)
    assert line["reason"] == "no"
    assert len(of.all()) == 1


async def test_who_got_what_it_asked_for_is_forgotten() -> None:
    of = refusing()
    await refuse(of, MAC, 1.0)
    of.settle(Machine(mac=MAC))
    assert of.all() == []


def made_up(number: int) -> str:
    return ":".join(f"{number:012x}"[at : at + 2] for at in range(0, 12, 2))


async def test_a_stranger_with_many_names_displaces_nobody_and_fills_nothing() -> None:
    asking = Asking()
    of = refusing(asking)
    await refuse(of, MAC, 1.0, "10.0.0.1")
    lines = [await refuse(of, made_up(each), 2.0, "10.0.0.66") for each in range(5 * MAX_ASKERS)]
    assert len(of.all()) == MAX_ASKERS
    assert of.all()[-1].mac == MAC
    assert sum(map(len, lines)) == MAX_LINES_OF_ADDRESS
    assert asking.questions == 1 + MAX_LINES_OF_ADDRESS
    (line,) = await refuse(of, MAC, 70.0, "10.0.0.1")
    assert line["unlogged"] == 5 * MAX_ASKERS - MAX_LINES_OF_ADDRESS


async def test_many_strangers_fill_no_log_either() -> None:
    of = refusing()
    lines = [
        await refuse(of, made_up(each), 2.0 + each / 100, f"10.0.{each % 250}.1")
        for each in range(3000)
    ]
    assert sum(map(len, lines)) == MAX_LINES
    assert len(of.all()) == MAX_ASKERS


@pytest.mark.parametrize("mac", ["x" * 5000, "\x1b]0;x\x07", "52:54:00:00:00", "' OR 1=1"])
async def test_what_is_no_mac_names_nobody(mac: str) -> None:
    of = refusing()
    (line,) = await refuse(of, mac, 1.0, why="w" * 5000)
    (kept,) = of.all()
    assert (kept.mac, kept.asker, line["mac"]) == ("", "10.0.0.1", None)
    assert len(kept.reason) == 300


async def test_a_clock_that_is_set_back_does_not_silence_the_log() -> None:
    of = refusing()
    await refuse(of, MAC, 10_000.0)
    assert await refuse(of, MAC, 100.0)
