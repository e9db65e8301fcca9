"""Mode native at a real server: what it is sent, what is tested, and what is said of loops."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from integration.booting_room import OTHER, OWN, Room, asking, serving
from integration.deploying import Machine, storeboot
from integration.servers import MAC
from integration.stores import add, toplevel_tree
from integration.test_cli import fails
from storeboot.config import Config
from storeboot.dhcp.journal import Seen
from storeboot.hosts.boot import Event
from storeboot.hosts.probations import Probation
from storeboot.nfs.views import view_id
from storeboot.nix.store import Store, StorePath

BIG = 24 << 20  # bytes; more than all buffers between server and client


def native_system(config: Config, directory: Path, number: int, *, agent: bool) -> StorePath:
    """A system with an initrd of its own, and the client module's agent or not."""
    place = directory / f"native-{number}"
    place.mkdir()
    tree = toplevel_tree(place)
    (tree / "generation").write_text(str(number))
    with (tree / "initrd").open("wb") as initrd:
        initrd.truncate(BIG)
    units = tree / "etc/systemd/system"
    units.mkdir(parents=True)
    if agent:
        (units / "storeboot-agent.service").write_text("[Service]\nExecStart=/run/agent\n")
    return add(Store(config.store.root), tree)


@pytest.fixture
def path(path: Path) -> Path:
    text = path.read_text().replace("[nfs]", "[nfs]\nalias = true")
    path.write_text(text + f'address = ["{OWN}"]\nmode = "native"\n')
    return path


@pytest.fixture
async def room(config: Config, path: Path, tmp_path: Path) -> AsyncIterator[Room]:
    """A server whose host has one generation."""
    system = await asyncio.to_thread(native_system, config, tmp_path, 1, agent=False)
    await asyncio.to_thread(storeboot, path, "deploy", "lab1", system)
    async with serving(path) as made:
        yield made


async def events(room: Room, stage: str) -> list[Event]:
    boots = room.running.service.boots
    found = await asyncio.to_thread(boots.events_since, "lab1", 0.0)
    return [event for event in found if event.stage == stage]


async def fetched(room: Room, count: int = 1) -> None:
    """Wait until so many fetches are recorded; the tests that they begin are decided by then."""
    service = room.running.service
    async with asyncio.timeout(60), service.changed:
        while len(await events(room, "initrd")) < count:
            await service.changed.wait()


async def fetch(
    room: Room, first: int = 0, last: int = BIG - 1, *, read: int | None = None
) -> None:
    """Fetch a part of what the host boots next, and close the connection after some bytes."""
    system = room.running.service.inventory.deployments.current("lab1")
    assert system is not None
    url = f"/views/{view_id([system.text]).hex()}/initrd"
    headers = {"Range": f"bytes={first}-{last}"} if (first, last) != (0, BIG - 1) else {}
    async with (
        asking(room.running, OWN) as http,
        http.get(url, params={"host": "lab1"}, headers=headers) as response,
    ):
        if read is None:
            assert len(await response.read()) == last - first + 1
        else:
            await response.content.readexactly(read)
            response.close()


async def downloads_end(room: Room) -> None:
    """Wait until the server has noticed that all its answers have ended."""
    found = room.running.service.fetching._downloads._downloads
    async with asyncio.timeout(60):
        while any(each.answers for each in found.values()):  # noqa: ASYNC110
            await asyncio.sleep(0.02)


async def test_an_initrd_is_fetched_with_its_last_byte(room: Room) -> None:
    await fetch(room, read=1 << 20)
    await downloads_end(room)
    assert await events(room, "initrd") == []
    await fetch(room)
    await fetched(room)


async def test_an_initrd_that_comes_in_parts(room: Room) -> None:
    half = BIG // 2
    await fetch(room, 0, half - 1)
    await downloads_end(room)
    assert await events(room, "initrd") == []
    await fetch(room, half, BIG - 1)
    await fetched(room)


async def test_a_download_that_does_not_go_on_says_how_far_it_is(room: Room) -> None:
    service = room.running.service
    system = service.inventory.deployments.current("lab1")
    assert system is not None
    url = f"/views/{view_id([system.text]).hex()}/initrd"
    async with (
        asking(room.running, OWN) as http,
        http.get(url, params={"host": "lab1"}) as response,
    ):
        await response.content.readexactly(2 << 20)
        (download,) = service.fetching._downloads._downloads.values()
        download.began_at -= 60.0  # a minute ago
        said = [event async for event in service.fetching.look(time.time())]
        response.close()
    assert [event.stage for event in said] == ["download"]
    share = 100 * download.arrived // BIG
    assert said[0].detail.startswith(f"initrd: {download.arrived / 1e6:.1f} of 25.2 MB ({share} %)")
    assert (2 << 20) - 1000 < download.arrived < BIG
    await downloads_end(room)


async def test_a_system_without_an_agent_is_not_tested(
    config: Config, room: Room, tmp_path: Path
) -> None:
    """Nobody would say that it has come up, and the test would be pending for ever."""
    system = await asyncio.to_thread(native_system, config, tmp_path, 2, agent=False)
    for options in (["--test"], ["--batch", 1, "--no-wait"]):
        said = await fails(tmp_path, "deploy", "lab1", system, *options, "-c", room.path)
        assert "no storeboot-agent.service" in said
        assert "storeboot.client.native.enable" in said
    assert len(room.running.service.inventory.deployments.generations("lab1")) == 1
    await room.run("deploy", "lab1", system)


@pytest.fixture
async def tested(config: Config, room: Room, tmp_path: Path) -> tuple[Room, StorePath]:
    """The server, and a system that the next boot tests."""
    system = await asyncio.to_thread(native_system, config, tmp_path, 2, agent=True)
    await room.run("deploy", "lab1", system, "--test", "--timeout", "60")
    return room, system


async def test_row(room: Room) -> Probation:
    tests = room.running.service.inventory.deployments.probations
    return (await asyncio.to_thread(tests.of, "lab1"))[2]


test_row.__test__ = False  # type: ignore[attr-defined]


async def test_a_test_begins_with_the_initrd_and_not_before(tested: tuple[Room, StorePath]) -> None:
    room, system = tested
    assert await room.script() == system.text
    await fetch(room, read=1 << 20)
    await downloads_end(room)
    assert (await test_row(room)).standing == "pending"
    await fetch(room)
    await fetched(room)
    assert (await test_row(room)).standing == "running"
    assert await room.script() != system.text  # whatever happens, the next boot is the old one
    assert await room.shows() != system.text


async def test_a_test_whose_machine_never_reports_has_failed(
    tested: tuple[Room, StorePath],
) -> None:
    room, _ = tested
    await fetch(room)
    await fetched(room)
    service = room.running.service
    row = await test_row(room)
    assert row.began_at is not None
    failed = await asyncio.to_thread(service.inventory.tests.settle, "lab1", now=row.began_at + 61)
    assert failed is not None
    row = await test_row(room)
    assert (row.standing, row.reason) == ("failed", "no multi-user within 60 s")


async def test_a_machine_that_boots_the_old_system_has_failed_the_test(
    tested: tuple[Room, StorePath],
) -> None:
    room, _ = tested
    await fetch(room)
    await fetched(room)
    await fetch(room)  # what it boots next by now
    await fetched(room, 2)
    row = await test_row(room)
    assert (row.standing, row.reason[:28]) == ("failed", "the machine booted again bef")


async def test_a_test_that_passes(tested: tuple[Room, StorePath]) -> None:
    room, system = tested
    await room.script()
    await fetch(room)
    await fetched(room)
    async with asking(room.running, OWN) as http:
        machine = Machine(http)
        boot = await machine.begin(system)
        row = await test_row(room)
        assert (row.standing, row.boot) == ("running", boot["boot"])
        await machine.reach(boot, "multi-user")
    assert (await test_row(room)).standing == "passed"


async def test_somebody_elses_fetch_begins_no_test_of_a_running_machine(
    config: Config, tested: tuple[Room, StorePath]
) -> None:
    room, system = tested
    old = next(
        each.system
        for each in room.running.service.inventory.deployments.generations("lab1")
        if each.system != system
    )
    async with asking(room.running, OWN) as http:
        machine = Machine(http)
        await machine.heartbeat(await machine.begin(old))
    await room.initrd(system, OTHER)
    await fetched(room)
    assert (await test_row(room)).standing == "pending"


async def test_a_loop_is_what_status_and_timeline_say(room: Room) -> None:
    clock = time.time()
    room.running.service.clock = lambda: clock
    for number in range(6):
        await room.script()
        clock += 2.0
        await fetch(room)
        await fetched(room, number + 1)
        clock += 2.0
    status = json.loads(await room.run("status", "--json"))
    assert "fetched its initrd 6 times in 20 s without going on" in json.dumps(status["lab1"])
    steps = json.loads(await room.run("timeline", "lab1", "--json"))
    (loop,) = [step for step in steps if step["stage"] == "loop"]
    assert loop["detail"] == "fetched its initrd 6 times in 20 s without going on"


async def test_firmware_that_repeats_itself_is_counted_and_recorded_once(room: Room) -> None:
    clock = time.time()
    room.running.service.clock = lambda: clock
    for number in range(4):
        seen = Seen(MAC, "firmware", "x64.efi", again=number > 0)
        await room.running.service.saw(seen)
        clock += 13.0
    assert len(await events(room, "firmware")) == 1
    assert [event.detail for event in await events(room, "loop")] == [
        "asked for iPXE 3 times in 26 s without going on",
        "asked for iPXE 4 times in 39 s without going on",
    ]


async def test_firmware_is_known_by_its_address_where_nothing_else_is_seen(room: Room) -> None:
    await room.running.service.saw(Seen("", "firmware", "x64.efi", address=OWN))
    await room.running.service.saw(Seen("", "firmware", "x64.efi", address=OTHER))
    assert [event.detail for event in await events(room, "firmware")] == ["x64.efi"]
