"""Kernels and initrds on their way: in one answer or in several, slow, stopped, and whole."""

from __future__ import annotations

from dataclasses import dataclass

from storeboot.hosts.boot import Event
from storeboot.hosts.host import Host
from storeboot.service.downloads import AGAIN, FORGOTTEN, SLOW, STALLED, Download, Downloads, Part

SIZE = 1_500_000_000
HOST = Host(name="lab1", addresses=("10.1.0.21",), mode="native")


def new(at: float = 0.0, size: int = SIZE, view: str = "v1") -> Download:
    return Download(HOST, "initrd", view, "10.1.0.21", size, at, at)


@dataclass
class Answer:
    """One answer, of which some bytes have arrived."""

    part: Part | None = None

    def __call__(self) -> Part | None:
        return self.part


def test_a_file_in_one_answer_is_whole_at_its_end_and_told_once() -> None:
    downloads, answer = Downloads(), Answer((0, SIZE))
    download = downloads.begins(new(), answer, is_anew=True)
    assert not download.is_whole  # it was not sent to its end, whatever has arrived
    assert download.ends(answer, (0, SIZE), 9.0)
    assert not list(downloads.look(100.0))


def test_a_connection_that_was_cut_and_is_continued() -> None:
    downloads, first, second = Downloads(), Answer(), Answer()
    download = downloads.begins(new(), first, is_anew=True)
    assert not download.ends(first, (0, 1000), 1.0)
    assert downloads.begins(new(2.0), second, is_anew=False) is download
    assert not download.is_whole
    assert download.ends(second, (900, SIZE), 9.0)


def test_parts_that_leave_a_hole_or_come_in_any_order() -> None:
    downloads, answers = Downloads(), [Answer() for _ in range(4)]
    parts = [(0, 10), (20, 30), (5, 15), (15, 20)]
    ends = []
    for answer, part in zip(answers, parts, strict=True):
        download = downloads.begins(new(size=30), answer, is_anew=False)
        ends.append(download.ends(answer, part, 1.0))
    assert ends == [False, False, False, True]


def test_a_machine_that_begins_anew_has_thrown_away_what_it_had() -> None:
    downloads, first, second = Downloads(), Answer(), Answer()
    tail = downloads.begins(new(size=30), first, is_anew=False)
    tail.ends(first, (10, 30), 1.0)
    whole = downloads.begins(new(2.0, size=30), second, is_anew=True)
    assert not whole.ends(second, (0, 20), 3.0)


def test_another_system_is_another_download() -> None:
    downloads, first, second = Downloads(), Answer(), Answer()
    downloads.begins(new(size=30), first, is_anew=True).ends(first, (0, 20), 1.0)
    other = downloads.begins(new(2.0, size=30, view="v2"), second, is_anew=False)
    assert not other.ends(second, (20, 30), 3.0)


def test_a_slow_download_says_once_a_minute_how_far_it_is() -> None:
    downloads, answer = Downloads(), Answer((0, 0))
    said: list[Event] = []
    downloads.begins(new(), answer, is_anew=True)
    for second in range(0, 200, 2):
        answer.part = (0, 6_000_000 * second)
        said += downloads.look(float(second))
    assert [(event.stage, event.at) for event in said] == [
        ("download", SLOW), ("download", SLOW + AGAIN), ("download", SLOW + 2 * AGAIN),
    ]  # fmt: skip
    assert said[1].detail == "initrd: 480.0 of 1500.0 MB (32 %) have arrived after 80 s"


def test_a_download_that_stops_is_told_once_and_again_when_it_has_gone_on() -> None:
    downloads, answer = Downloads(), Answer((0, 540_000_000))
    downloads.begins(new(), answer, is_anew=True)
    said = [event for second in range(300) for event in downloads.look(float(second))]
    stops = [event for event in said if event.stage == "silent"]
    assert len(stops) == 1
    assert "540.0 of 1500.0 MB (36 %)" in stops[0].detail
    assert "still waits" in stops[0].detail
    answer.part = (0, 600_000_000)
    said = [event for second in range(300, 400) for event in downloads.look(float(second))]
    assert [event.stage for event in said] == ["download", "silent"]


def test_a_download_that_the_machine_has_ended_is_told_as_that() -> None:
    downloads, answer = Downloads(), Answer()
    downloads.begins(new(), answer, is_anew=True).ends(answer, (0, 1), 1.0)
    (event,) = downloads.look(2.0 + STALLED)
    assert "the machine ended the download" in event.detail
    assert not list(downloads.look(3.0 + FORGOTTEN))
    assert not downloads._downloads


def test_an_empty_file_is_whole() -> None:
    downloads, answer = Downloads(), Answer()
    assert downloads.begins(new(size=0), answer, is_anew=True).ends(answer, (0, 0), 1.0)
