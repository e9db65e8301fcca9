"""Boots that begin again and again; what is said of which is in tests/corpus/rounds."""

from __future__ import annotations

import pytest
from structlog.testing import capture_logs

from storeboot.hosts.boot import Event
from storeboot.service import rounds
from storeboot.service.happenings import Happening
from storeboot.service.rounds import MAX_COUNTED, MAX_HOSTS, Rounds


def script(at: float, host: str = "lab1") -> Event:
    return Event(host, "server", "script", at)


async def test_a_loop_is_an_event_of_every_round_and_a_line_of_the_log_once_a_minute() -> None:
    counted = Rounds()
    with capture_logs() as lines:
        found = [await counted.heard(Happening(script(10.0 * number))) for number in range(10)]
    assert [len(events) for events in found] == [0, 0, *[1] * 8]
    assert found[3][0].detail == "asked for its script 4 times in 30 s without going on"
    assert found[3][0].at > 30.0  # the last word about the machine is that it loops
    assert [line["reason"].split(" times")[0] for line in lines] == [
        "asked for its script 3", "asked for its script 9",
    ]  # fmt: skip


async def test_a_loop_shows_no_loop_itself() -> None:
    counted = Rounds()
    found = [counted.count(script(10.0 * number)) for number in range(3)]
    assert [counted.count(event) for event in found[-1]] == [()]


def test_hosts_do_not_disturb_each_other() -> None:
    counted = Rounds()
    for number in range(4):
        counted.count(script(10.0 * number))
        counted.count(Event("lab2", "initrd", "begin", 10.0 * number))
        assert not counted.count(script(10.0 * number, "lab2"))


def test_memory_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(rounds, "MAX_HOSTS", 10)
    counted = Rounds()
    for number in range(30):
        counted.count(script(0.0, f"lab{number}"))
    assert len(counted._hosts) == 10
    found = [counted.count(script(2.0 * number, "lab29")) for number in range(2 * MAX_COUNTED)]
    assert f" {MAX_COUNTED} times" in found[-1][0].detail
    assert MAX_HOSTS >= 1000
