"""Boots that say nothing themselves, seen from the server."""

from __future__ import annotations

from dataclasses import dataclass, field

import pytest

from storeboot.hosts.boot import Event
from storeboot.hosts.host import Host
from storeboot.service.happenings import Happening
from storeboot.service.native import (
    FORGOTTEN,
    MAX_REFUSED,
    NO_MOUNT,
    NO_READ,
    SILENT,
    NativeBoots,
    NativeWatch,
)

ADDRESS = "192.168.1.21"
HOST = Host(name="lab1", addresses=(ADDRESS,), mode="native")


@dataclass
class Seen:
    """What is written down, and what the machine has read; `spoke_at` is when it was heard of."""

    host: Host = HOST
    boots: NativeBoots = field(default_factory=NativeBoots)
    events: list[Event] = field(default_factory=list)
    files: set[bytes] = field(default_factory=set)
    spoke_at: float = 0.0
    quiet: float | Exception | None = NO_READ  # seconds without a word from its TCP

    def __post_init__(self) -> None:
        self.watch = NativeWatch(self.boots, self.reads, self.known, self.has_spoken, self.silence)

    async def reads(self, address: str) -> set[bytes]:
        assert address == ADDRESS
        taken, self.files = self.files, set()
        return taken

    async def nothing_read(self, _address: str) -> set[bytes]:
        return set()

    async def silence(self, address: str) -> float | None:
        assert address in self.host.addresses
        if isinstance(self.quiet, Exception):
            raise self.quiet
        return self.quiet

    async def known(self, host: str) -> Host | None:
        return self.host if host == self.host.name else None

    async def has_spoken(self, _host: str, since: float) -> bool:
        return self.spoke_at > since

    async def hear(self, source: str, stage: str, at: float) -> None:
        event = Event(self.host.name, source, stage, at)
        self.events += await self.watch.heard(Happening(event))

    async def look(self, now: float) -> None:
        self.events += [event async for event in self.watch.look(now)]

    @property
    def stages(self) -> list[tuple[str, float]]:
        return [(event.stage, event.at) for event in self.events]


async def test_a_boot_that_goes_well() -> None:
    seen = Seen()
    await seen.hear("server", "initrd", 100)
    await seen.look(102)
    seen.boots.mounted("192.168.1.99", 104)
    seen.boots.mounted(ADDRESS, 105)
    seen.files.add(b"a/init")
    await seen.look(107)
    await seen.look(107 + 2 * NO_READ)
    assert seen.stages == [("mount", 105), ("stage-2", 107)]


async def test_what_was_read_before_does_not_count() -> None:
    seen = Seen()
    await seen.hear("server", "initrd", 100)
    seen.files.add(b"a/of-the-boot-before")
    await seen.look(102)
    seen.boots.mounted(ADDRESS, 105)
    await seen.look(107)
    assert seen.stages == [("mount", 105)]


async def test_silence_after_the_mount_is_told_once_and_names_the_option() -> None:
    seen = Seen()
    await seen.hear("server", "initrd", 100)
    seen.boots.mounted(ADDRESS, 105)
    for now in (106, 105 + NO_READ, 106 + NO_READ, 200 + NO_READ):
        await seen.look(now)
    assert seen.stages == [("mount", 105), ("silent", 106 + NO_READ)]
    assert "flushBeforeStage2" in seen.events[-1].detail
    seen.files.add(b"a/init")  # the cable was out
    await seen.look(300)
    assert seen.stages[-1] == ("stage-2", 300)


async def test_a_store_that_is_never_mounted() -> None:
    seen = Seen()
    await seen.hear("server", "initrd", 100)
    await seen.look(100 + NO_MOUNT)
    await seen.look(101 + NO_MOUNT)
    assert seen.stages == [("silent", 101 + NO_MOUNT)]
    assert "boot.initrd.network.enable" in seen.events[0].detail


@pytest.mark.parametrize(
    ("quiet", "named", "not_named"),
    [
        (SILENT, "flushBeforeStage2 must be false", "requires-mounts-for"),
        (SILENT - 1, "x-systemd.requires-mounts-for=", "must be false"),
        (None, "closed its connection", "flushBeforeStage2"),
        (TimeoutError(), "One of these:", "its network answers"),
    ],
)
async def test_what_reads_nothing_has_a_reason_only_as_far_as_its_network_tells(
    quiet: float | Exception | None, named: str, not_named: str
) -> None:
    seen = Seen(quiet=quiet)
    await seen.hear("server", "initrd", 100)
    seen.boots.mounted(ADDRESS, 105)
    await seen.look(106 + NO_READ)
    detail = seen.events[-1].detail
    assert named in detail
    assert not_named not in detail


async def test_a_virtual_machine_whose_tcp_ends_in_its_emulator() -> None:
    """It answers whatever the machine inside does, so it proves nothing."""
    address = "127.0.0.1"
    seen = Seen(HOST.model_copy(update={"addresses": (address,)}), quiet=0.0)
    await seen.hear("server", "initrd", 100)
    seen.boots.mounted(address, 105)
    seen.watch = NativeWatch(
        seen.boots, seen.nothing_read, seen.known, seen.has_spoken, seen.silence
    )
    await seen.look(106 + NO_READ)
    assert "One of these: boot.initrd.network.flushBeforeStage2" in seen.events[-1].detail


async def test_a_machine_that_connects_and_mounts_nothing() -> None:
    """Its mount was refused, or it only asked which programs are there."""
    seen = Seen()
    await seen.hear("server", "initrd", 100)
    seen.boots.connected(ADDRESS)
    await seen.look(101 + NO_MOUNT)
    assert seen.stages == [("silent", 101 + NO_MOUNT)]
    assert "mounted nothing" in seen.events[0].detail
    assert "flushBeforeStage2" not in seen.events[0].detail


async def test_a_machine_that_speaks_is_not_watched() -> None:
    seen = Seen()
    await seen.hear("server", "initrd", 100)
    seen.boots.mounted(ADDRESS, 105)
    await seen.hear("agent", "agent", 150)
    await seen.look(200)
    assert seen.stages == [("mount", 105)]


async def test_a_machine_that_runs_is_not_hung_because_somebody_fetched_its_initrd() -> None:
    seen = Seen(spoke_at=42 + NO_MOUNT)
    await seen.hear("server", "initrd", 100)
    await seen.look(101 + NO_MOUNT)
    assert seen.stages == []


async def test_nobody_is_watched_for_ever() -> None:
    seen = Seen()
    await seen.hear("server", "initrd", 100)
    await seen.look(101 + NO_MOUNT)
    await seen.look(101 + NO_MOUNT + FORGOTTEN)
    seen.files.add(b"a/init")
    await seen.look(102 + NO_MOUNT + FORGOTTEN)
    assert [stage for stage, _ in seen.stages] == ["silent"]
    assert seen.files  # nobody looks any more


async def test_a_host_that_boots_in_another_way_is_not_watched() -> None:
    seen = Seen()
    await seen.hear("server", "initrd", 100)
    seen.host = HOST.model_copy(update={"mode": "plain"})
    await seen.hear("server", "initrd", 110)
    await seen.look(111 + NO_MOUNT)
    assert seen.stages == []


async def test_a_refused_mount_is_told_and_not_blamed_on_the_initrd() -> None:
    seen = Seen()
    await seen.hear("server", "initrd", 100)
    seen.boots.refused("lab1", "the host with this address has no system", 105)
    for now in (106, 101 + NO_MOUNT):
        await seen.look(now)
    assert seen.stages == [("no-store", 105)]
    assert seen.events[0].detail == "the host with this address has no system"


async def test_refusals_that_nobody_takes_are_bounded() -> None:
    seen = Seen()
    for at in range(MAX_REFUSED + 9):
        seen.boots.refused("lab1", "x", at)
    assert len(seen.boots.take_refused()) == MAX_REFUSED
