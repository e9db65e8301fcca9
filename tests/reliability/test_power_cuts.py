"""Power cuts at random moments, on a file system that loses what was not synced.

After each one the server starts, what machines run is whole, and every host boots what it did
before or what it was just given; what was acknowledged before the cut is not lost.
"""

from __future__ import annotations

import asyncio
import random
import time
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from integration.deploying import WAIT, Machine
from reliability.disks import Disk, Loss
from reliability.rooms import MACS, Room
from storeboot.nix.store import StorePath

pytestmark = pytest.mark.timeout(600)
BOOT = "00000000000000b7"  # of the machine that runs
FEW = 6
MANY = 100


@dataclass(slots=True)
class Known:
    """What the room has before each cut, and what hosts may boot after it."""

    running: StorePath | None  # of host lab3, which its next boot does not give it again
    next: dict[str, set[StorePath]] = field(default_factory=dict)
    spare: StorePath | None = None  # an older generation of lab1
    seconds: float = 0.0  # that a command takes


@pytest.fixture(scope="module")
def prepared(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Disk, Known]]:
    """A disk with a room on it, where every cut begins."""
    scratch = tmp_path_factory.mktemp("prepared")
    disk = Disk(scratch)
    disk.format()
    disk.mount()
    try:
        known = asyncio.run(prepare(Room(disk.place, scratch)))
        disk.unmount()
        yield disk, known
    finally:
        disk.remove()


async def prepare(room: Room) -> Known:
    one, two, three = (room.new_system(number) for number in (1, 2, 3))
    await room.succeed("deploy", "lab3", one)
    room.lease("lab3", one, BOOT)
    for host in ("lab2", "lab3"):
        await room.succeed("deploy", host, three)
    await room.succeed("deploy", "lab1", three)
    began = time.monotonic()
    await room.succeed("deploy", "lab1", two)
    seconds = time.monotonic() - began
    return Known(one, {"lab1": {two}, "lab2": {three}, "lab3": {three}}, three, seconds)


@pytest.fixture
async def disk(prepared: tuple[Disk, Known], tmp_path: Path) -> AsyncIterator[Disk]:
    made = Disk(tmp_path)
    made.copy_of(prepared[0])
    made.mount()
    yield made
    made.remove()


class Cut:
    """One power cut: when it comes, and what it takes, follow from its number."""

    def __init__(self, number: int, disk: Disk, scratch: Path, known: Known) -> None:
        self._random = random.Random(number)
        self._disk = disk
        self.room = Room(disk.place, scratch)
        self.known = Known(known.running, {**known.next}, known.spare, known.seconds)
        self.loss = self._random.choice(list(Loss))
        # Half of the cuts follow an acknowledgement at once: nothing of it may be lost.
        self._moment = self._random.choice([None, self._random.uniform(0, 1.1)])

    def chance(self, share: float) -> bool:
        return self._random.random() < share

    async def during(self, *words: object) -> bool:
        """Cut while a command runs, or as soon as it has succeeded; whether it had."""
        child = await self.room.command(*words)
        try:
            seconds = None if self._moment is None else self._moment * self.known.seconds
            async with asyncio.timeout(seconds):
                status: int | None = await child.wait()
        except TimeoutError:
            status = child.status
        self._disk.cut(self.loss)
        assert status in (0, None), self.room.last_words()
        await self.room.kill_all()
        return status == 0

    async def now(self) -> None:
        self._disk.cut(self.loss)
        await self.room.kill_all()

    def given(self, host: str, system: StorePath, acknowledged: bool) -> None:
        self.known.next[host] = {system} | (set() if acknowledged else self.known.next[host])

    async def check(self) -> None:
        """The power is back."""
        await asyncio.to_thread(self._disk.power_on)
        room, known = self.room, self.known
        async with room.serving() as http:
            self.require_running()
            if known.running is not None:
                room.require_readable(known.running, room.token(known.running, BOOT))
            for number, (host, may_boot) in enumerate(sorted(known.next.items())):
                assert await room.boot(http, host, number + 1) in may_boot, host
        assert await room.damages() == {}
        assert list(room.state.rglob("*.partial")) == []
        await room.succeed("gc", "--keep", 0)
        self.require_running()
        await room.succeed("deploy", "lab1", room.new_system(99))

    def require_running(self) -> None:
        if self.known.running is not None:
            self.room.require_whole(self.known.running)


async def deploy(cut: Cut) -> None:
    system = cut.room.new_system(10)
    cut.given("lab1", system, await cut.during("deploy", "lab1", system))


async def roll_back(cut: Cut) -> None:
    assert cut.known.spare is not None
    cut.given("lab1", cut.known.spare, await cut.during("rollback", "lab1"))


async def collect(cut: Cut) -> None:
    await cut.during("gc", "--keep", 0)


async def try_system(cut: Cut) -> None:
    """A test is given, begun, passed and confirmed; the cut comes at one of these."""
    system = cut.room.new_system(11)
    if cut.chance(0.3):
        cut.given("lab1", system, await cut.during("deploy", "--test", "lab1", system, WAIT))
        return
    (before,) = cut.known.next["lab1"]
    await cut.room.succeed("deploy", "--test", "lab1", system, WAIT)
    async with cut.room.serving() as http:
        machine = Machine(http, "lab1", MACS["lab1"])
        begun = await machine.begin(system)
        if cut.chance(0.3):  # whoever boots again without having come up gets the old one
            await cut.now()
            cut.known.next["lab1"] = {before}
            return
        await machine.reach(begun, "multi-user")
    cut.given("lab1", system, await cut.during("confirm", "lab1"))


async def first_start(cut: Cut) -> None:
    """A server that has never run, and a host that is given its first system at the same time."""
    room = cut.room
    await asyncio.to_thread(room.forget_everything)
    cut.known.running, cut.known.next = None, {}
    child = await room.command("serve")
    system = room.new_system(12)
    was_given = await cut.during("deploy", "lab2", system)
    assert child.status is not None
    if was_given:
        cut.known.next = {"lab2": {system}}


ACTIONS = (deploy, deploy, first_start, try_system, collect, roll_back)


async def cut_power(number: int, disk: Disk, scratch: Path, known: Known) -> None:
    cut = Cut(number, disk, scratch, known)
    try:
        await ACTIONS[number % len(ACTIONS)](cut)
        await cut.check()
    finally:
        await cut.room.kill_all()


@pytest.mark.parametrize("number", range(FEW))
async def test_nothing_is_lost_by_a_power_cut(
    number: int, disk: Disk, prepared: tuple[Disk, Known], tmp_path: Path
) -> None:
    await cut_power(number, disk, tmp_path, prepared[1])


@pytest.mark.long
@pytest.mark.parametrize("number", range(FEW, FEW + MANY))
async def test_nothing_is_lost_by_a_hundred_power_cuts(
    number: int, disk: Disk, prepared: tuple[Disk, Known], tmp_path: Path
) -> None:
    await cut_power(number, disk, tmp_path, prepared[1])


async def test_the_key_of_a_server_that_was_ready_is_kept(
    disk: Disk, prepared: tuple[Disk, Known], tmp_path: Path
) -> None:
    """The tokens and keys of machines hang on it, so it is on disk before the server is ready.

    The cut loses all data that was not synced, and comes when nothing else would sync it.
    """
    cut = Cut(0, disk, tmp_path, prepared[1])
    cut.loss = Loss.DATA
    room = cut.room
    try:
        await asyncio.to_thread(room.forget_everything)
        cut.known.running, cut.known.next = None, {}
        async with room.serving():
            key = (room.state / "server.key").read_bytes()
            await cut.now()
        await cut.check()
        assert (room.state / "server.key").read_bytes() == key
    finally:
        await room.kill_all()
