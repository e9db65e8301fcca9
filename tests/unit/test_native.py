"""Boots that say nothing themselves, seen from the server."""

from __future__ import annotations

from dataclasses import dataclass, field

from storeboot.hosts.boots import Event
from storeboot.hosts.host import Host
from storeboot.service.native import FORGOTTEN, NO_MOUNT, NO_READ, NativeBoots

ADDRESS = "192.168.1.21"
HOST = Host("lab1", addresses=(ADDRESS,), mode="native")


@dataclass
class Seen:
    """What is written down, and what the machine has read."""

    events: list[Event] = field(default_factory=list)
    files: set[bytes] = field(default_factory=set)

    async def record(self, event: Event) -> None:
        self.events.append(event)

    async def reads(self, address: str) -> set[bytes]:
        assert address == ADDRESS
        taken, self.files = self.files, set()
        return taken

    @property
    def stages(self) -> list[tuple[str, float]]:
        return [(event.stage, event.at) for event in self.events]


async def test_a_boot_that_goes_well() -> None:
    seen = Seen()
    native = NativeBoots(seen.record, seen.reads)
    native.begin(HOST, 100)
    await native.look(102)
    native.connected("192.168.1.99", 104)
    native.connected(ADDRESS, 105)
    seen.files.add(b"a/init")
    await native.look(107)
    await native.look(107 + 2 * NO_READ)
    assert seen.stages == [("mount", 105), ("stage-2", 107)]


async def test_what_was_read_before_does_not_count() -> None:
    seen = Seen()
    native = NativeBoots(seen.record, seen.reads)
    native.begin(HOST, 100)
    seen.files.add(b"a/of-the-boot-before")
    await native.look(102)
    native.connected(ADDRESS, 105)
    await native.look(107)
    assert seen.stages == [("mount", 105)]


async def test_silence_after_the_mount_is_told_once_and_names_the_option() -> None:
    seen = Seen()
    native = NativeBoots(seen.record, seen.reads)
    native.begin(HOST, 100)
    native.connected(ADDRESS, 105)
    for now in (106, 105 + NO_READ, 106 + NO_READ, 200 + NO_READ):
        await native.look(now)
    assert seen.stages == [("mount", 105), ("silent", 106 + NO_READ)]
    assert "flushBeforeStage2" in seen.events[-1].detail
    seen.files.add(b"a/init")  # the cable was out
    await native.look(300)
    assert seen.stages[-1] == ("stage-2", 300)


async def test_a_store_that_is_never_mounted() -> None:
    seen = Seen()
    native = NativeBoots(seen.record, seen.reads)
    native.begin(HOST, 100)
    await native.look(100 + NO_MOUNT)
    await native.look(101 + NO_MOUNT)
    assert seen.stages == [("silent", 101 + NO_MOUNT)]
    assert "boot.initrd.network.enable" in seen.events[0].detail


async def test_a_machine_that_speaks_is_not_watched() -> None:
    seen = Seen()
    native = NativeBoots(seen.record, seen.reads)
    native.begin(HOST, 100)
    native.connected(ADDRESS, 105)
    await native.end("lab1")
    await native.look(200)
    assert seen.stages == [("mount", 105)]


async def test_a_machine_that_runs_is_not_hung_because_somebody_fetched_its_initrd() -> None:
    seen = Seen()

    async def has_spoken(_host: str, since: float) -> bool:
        return since == 41 + NO_MOUNT

    native = NativeBoots(seen.record, seen.reads, has_spoken)
    native.begin(HOST, 100)
    await native.look(101 + NO_MOUNT)
    assert seen.stages == []


async def test_nobody_is_watched_for_ever() -> None:
    seen = Seen()
    native = NativeBoots(seen.record, seen.reads)
    native.begin(HOST, 100)
    await native.look(101 + NO_MOUNT)
    await native.look(101 + NO_MOUNT + FORGOTTEN)
    seen.files.add(b"a/init")
    await native.look(102 + NO_MOUNT + FORGOTTEN)
    assert [stage for stage, _ in seen.stages] == ["silent"]
    assert seen.files  # nobody looks any more


async def test_a_host_that_boots_in_another_way_is_not_watched() -> None:
    seen = Seen()
    native = NativeBoots(seen.record, seen.reads)
    native.begin(HOST, 100)
    native.forget("lab1")
    await native.look(101 + NO_MOUNT)
    assert seen.stages == []
