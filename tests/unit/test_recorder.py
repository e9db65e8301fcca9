"""Records on their way to a real database, one step of the writing thread at a time."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from sqlalchemy import event as sqlalchemy_event

from storeboot.hosts import recorder as recording
from storeboot.hosts.boot import Boot, Event
from storeboot.hosts.boots import Boots
from storeboot.hosts.database import Database, sqlite_url
from storeboot.hosts.memory import Memory
from storeboot.hosts.recorder import Recorder


class Held:
    """Counts how often each view is held."""

    def __init__(self) -> None:
        self.views: list[str] = []

    def hold(self, view: str) -> None:
        self.views.append(view)

    def release(self, view: str) -> None:
        self.views.remove(view)


class Desk:
    """A recorder without its thread, and the statements that it makes."""

    def __init__(self, directory: Path) -> None:
        self.database = Database(sqlite_url(directory), memory=Memory())
        assert self.database.probe()
        self.held = Held()
        self.late: list[Boot | Event] = []
        self.recorder = Recorder(self.database, self.held, on_late=self.late.append)
        self.boots = Boots(self.database)
        self.statements: list[str] = []
        sqlalchemy_event.listen(
            self.database._engine, "before_cursor_execute", self._note, retval=False
        )
        sqlalchemy_event.listen(self.database._engine, "commit", self._commit)

    def _note(self, *arguments: object) -> None:
        self.statements.append(str(arguments[2]))

    def _commit(self, _connection: object) -> None:
        self.statements.append("COMMIT")


@pytest.fixture
def desk(tmp_path: Path) -> Iterator[Desk]:
    made = Desk(tmp_path)
    yield made
    made.database.dispose()


def boot(number: int, host: str = "lab1", address: str = "10.0.0.1") -> Boot:
    return Boot(
        f"{number:016x}", host, f"{number:032x}", "/nix/store/x", f"{number:032x}", "", address,
        float(number), float(number),
    )  # fmt: skip


def test_what_waits_together_is_one_transaction_and_one_sync(desk: Desk) -> None:
    told = [desk.recorder.begin(boot(number, f"lab{number}")) for number in range(50)]
    told += [desk.recorder.record(Event(f"lab{n}", "initrd", "mount", 99.0, boot(n).id))
             for n in range(50)]  # fmt: skip
    assert desk.recorder.work()
    assert all(each.result(0) for each in told)
    assert desk.statements.count("COMMIT") == 1
    assert not any("synchronous" in said for said in desk.statements), "a lease must be on disk"
    found = desk.boots.latest("lab7")
    assert found is not None
    assert (found.id, found.seen_at, found.spoken) == (boot(7).id, 99.0, True)


def test_lines_of_the_timeline_and_signs_of_life_cost_no_sync(desk: Desk) -> None:
    desk.recorder.begin(boot(1))
    desk.recorder.work()
    desk.statements.clear()
    told = [desk.recorder.record(Event("lab1", "initrd", "mount", 2.0, boot(1).id)),
            desk.recorder.sign(boot(1).id, 3.0)]  # fmt: skip
    assert desk.recorder.work()
    assert all(each.result(0) for each in told)
    assert desk.statements[0] == "PRAGMA synchronous=NORMAL"
    assert desk.statements[-2:] == ["PRAGMA synchronous=FULL", "COMMIT"]
    found = desk.boots.get(boot(1).id)
    assert found is not None
    assert found.seen_at == 3.0


def test_who_brings_something_while_the_database_is_away_is_told_at_once(desk: Desk) -> None:
    desk.database.lost("a test says so")
    told = [desk.recorder.begin(boot(1)), desk.recorder.sign(boot(1).id, 5.0),
            desk.recorder.record(Event("lab1", "agent", "multi-user", 4, boot(1).id))]  # fmt: skip
    assert [each.result(0) for each in told] == [False, False, False]
    assert desk.held.views == [boot(1).view]
    assert desk.recorder.unrecorded().waiting == {"boots": 1, "events": 1, "signs": 1}
    assert desk.recorder.boots() == [boot(1)]
    assert desk.recorder.work()  # a probe finds it well, and all is written
    assert desk.held.views == []
    assert not desk.recorder.unrecorded()
    assert [type(each) for each in desk.late] == [Boot, Event]
    assert [each.stage for each in desk.boots.events_of(boot(1).id)] == ["multi-user"]
    found = desk.boots.get(boot(1).id)
    assert found is not None
    assert found.seen_at == 5.0


def test_who_has_waited_enough_is_late_as_well(desk: Desk) -> None:
    desk.recorder.begin(boot(1)).cancel()
    desk.recorder.work()
    assert desk.late == [boot(1)]


def test_a_database_that_fails_in_the_middle_loses_nothing(
    desk: Desk, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    told = desk.recorder.begin(boot(1))
    with monkeypatch.context() as patch:
        patch.setattr(
            "storeboot.hosts.records.keep_boot", lambda *_: desk.database.lost("it broke")
        )
        patch.setattr("storeboot.hosts.records.write_signs", _fail)
        assert not desk.recorder.work()
    assert told.result(0) is False
    assert desk.recorder.unrecorded().waiting == {"boots": 1}
    assert desk.recorder.work()
    assert desk.boots.get(boot(1).id) is not None
    assert desk.late == [boot(1)]


def _fail(*_arguments: object) -> None:
    raise OSError("disk I/O error")


def test_one_record_that_is_refused_does_not_hold_up_the_others(desk: Desk) -> None:
    desk.recorder.begin(boot(1))
    bad = desk.recorder.record(Event("lab1", "initrd", "mount", 2.0, boot(1).id, detail="\ud800"))
    good = desk.recorder.record(Event("lab1", "initrd", "begin", 3.0, boot(1).id))
    desk.recorder.work()
    assert (bad.result(0), good.result(0)) == (False, True)
    assert [each.stage for each in desk.boots.events_of(boot(1).id)] == ["begin"]
    assert desk.recorder.unrecorded().lost == {"events": 1}


def test_lines_of_the_timeline_go_first_and_boots_last(
    desk: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(recording, "MAX_DETAIL", 1000)
    desk.database.lost("a test says so")
    desk.recorder.begin(boot(1))
    desk.recorder.record(Event("lab1", "agent", "failed", 1.0, boot(1).id, detail="x" * 400))
    for number in range(10):
        desk.recorder.record(Event("lab1", "agent", "agent", number, boot(1).id, detail="x" * 400))
    assert desk.recorder.unrecorded().waiting == {"boots": 1, "events": 2}
    assert desk.recorder.unrecorded().lost == {"events": 9}
    desk.recorder.work()
    kept = [(each.stage, each.at) for each in desk.boots.events_of(boot(1).id)]
    assert kept == [("failed", 1.0), ("agent", 9.0)]


def test_a_host_in_whose_name_boots_are_begun_fills_no_memory(
    desk: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(recording, "MAX_HOST_BOOTS", 5)
    desk.database.lost("a test says so")
    desk.recorder.begin(boot(0, address="10.0.0.7"))  # the machine
    for number in range(1, 30):
        desk.recorder.begin(boot(number, address="10.0.0.66"))
    desk.recorder.begin(boot(99, "lab2"))
    waiting = desk.recorder.boots()
    assert len(waiting) == 6
    assert waiting[0].address == "10.0.0.7"
    assert len(desk.held.views) == 6
    assert desk.recorder.unrecorded().lost == {"boots": 25}


def test_what_anybody_causes_fills_no_memory(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(recording, "MAX_LOOSE", 10)
    desk.database.lost("a test says so")
    desk.recorder.begin(boot(1))
    desk.recorder.record(Event("lab1", "initrd", "begin", 0.0, boot(1).id))
    for number in range(100):
        desk.recorder.record(Event("lab1", "server", "script", float(number)))
    desk.recorder.record(Event("lab2", "server", "script", 1.0))
    desk.recorder.work()
    assert [each.stage for each in desk.boots.events_of(boot(1).id)] == ["begin"]
    loose = [each.at for each in desk.boots.lately("lab1", None)]
    assert loose == [float(number) for number in range(90, 100)]
    assert len(desk.boots.lately("lab2", None)) == 1


def test_a_thread_writes_by_itself_and_ends(desk: Desk) -> None:
    desk.recorder.start()
    assert desk.recorder.begin(boot(1)).result(10)
    desk.recorder.record(Event("lab1", "initrd", "mount", 2.0, boot(1).id))
    desk.recorder.stop(10)
    assert [each.stage for each in desk.boots.events_of(boot(1).id)] == ["mount"]
