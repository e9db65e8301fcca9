"""What a machine gets besides its next generation: menus, specialisations, another's system."""

from __future__ import annotations

import asyncio
import json
import re
import time
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import aiohttp
import pytest

from integration.deploying import (
    WAIT,
    Machine,
    collect_garbage,
    exists,
    make_system,
    storeboot,
)
from integration.servers import MAC
from integration.test_cli import fails
from storeboot import config as configuration
from storeboot.config import Config
from storeboot.deploy import systems
from storeboot.deploy.inventory import opened
from storeboot.hosts.boots import Boot
from storeboot.initrd import builder
from storeboot.nfs.views import view_id
from storeboot.nix.store import StorePath
from storeboot.nix.system import System
from storeboot.serve import server
from storeboot.service.turns import STALLED

STRANGER = "52:54:00:00:00:99"


def set_up(path: Path, before: str = "", after: str = "") -> str:
    """Sections before those of the configuration, or settings of its host; what was there."""
    text = path.read_text()
    path.write_text(before + text + after)
    return text


@asynccontextmanager
async def serving(path: Path) -> AsyncIterator[tuple[Machine, server.Server]]:
    async with (
        server.running(configuration.load(path)) as running,
        aiohttp.ClientSession(running.service.url) as http,
    ):
        yield Machine(http), running


def ticket(script: str) -> str:
    match = re.search(r"storeboot\.ticket=([0-9a-f]{16})\b", script)
    assert match, script
    return match[1]


def items(script: str) -> list[str]:
    return re.findall(r"^item (\S+)", script, re.MULTILINE)


async def test_the_menu_boots_an_older_generation_once(
    config: Config, path: Path, tmp_path: Path
) -> None:
    one, two = (make_system(config, tmp_path, number) for number in (1, 2))
    for system in (one, two):
        await asyncio.to_thread(storeboot, path, "deploy", "lab1", system)
    async with serving(path) as (machine, _):
        script = await machine.script(serial="Default string")
        place = re.search(r"prompt --key m .* && chain \S+ \S+ \S+/menu\?(\S+) \|\|", script)
        assert place is not None
        assert "serial=Default%20string" in place[1]
        menu = await machine.script("/menu")
        assert items(menu) == ["2", "1", "leave."]
        assert "choose --default 2 --timeout 30000 chosen" in menu
        chosen = await machine.script(choice="1")
        assert f"init={one}/init" in chosen
        assert "prompt" not in chosen
        boot = await machine.begin(one)
        assert f"init={two}/init" in await machine.script()
        assert "has no generation 3" in await machine.script(choice="3")
        assert "has no generation 1.x" in await machine.script(choice="1.x")
        await machine.heartbeat(boot)  # so it was somebody else who asked in its name
        status = json.loads(await asyncio.to_thread(storeboot, path, "status", "--json"))
        assert (status["lab1"]["runs"], status["lab1"]["generation"]) == (one.text, 2)


async def test_a_menu_at_every_boot_or_never(config: Config, path: Path, tmp_path: Path) -> None:
    system = make_system(config, tmp_path, 1)
    await asyncio.to_thread(storeboot, path, "deploy", "lab1", system)
    text = set_up(path, after="menu = true\n")
    async with serving(path) as (machine, _):
        assert items(await machine.script()) == ["1", "leave."]
        assert f"init={system}/init" in await machine.script(choice="1")
    await asyncio.to_thread(path.write_text, text + "menu = false\n")
    async with serving(path) as (machine, _):
        assert "prompt" not in await machine.script()


async def test_specialisations_are_choices(config: Config, path: Path, tmp_path: Path) -> None:
    special = make_system(config, tmp_path, 1)
    system = make_system(config, tmp_path, 2, gaming=special)
    await asyncio.to_thread(storeboot, path, "deploy", "lab1", system)
    async with serving(path) as (machine, running):
        assert items(await machine.script("/menu")) == ["1", "1.gaming", "leave."]
        assert f"init={special}/init" in await machine.script(choice="1.gaming")
        boot = await machine.begin(special)
        await machine.reach(boot, "multi-user")
        listed = await asyncio.to_thread(storeboot, path, "generations", "lab1", "--json")
        assert [row["runs"] for row in json.loads(listed)] == [True]
        await asyncio.to_thread(storeboot, path, "gc", "--keep", 0)
        assert running.service.state.views.is_rooted(view_id([special.text]).hex())


async def test_a_broken_specialisation_harms_nothing_but_itself(
    config: Config, path: Path, tmp_path: Path
) -> None:
    """The link of one host leads to a file inside another system, or to nothing."""
    system = make_system(config, tmp_path, 1, lost=StorePath(f"/nix/store/{'0' * 32}-lost"))
    inside = make_system(config, tmp_path, 2, gpu=StorePath(f"{system}/bin"), whole=system)
    set_up(path, after='[hosts.lab2]\nmac = ["52:54:00:00:00:02"]\n')
    for host, deployed in (("lab1", inside), ("lab2", system)):
        await asyncio.to_thread(storeboot, path, "deploy", host, deployed)
    async with serving(path) as (machine, _):
        assert items(await machine.script("/menu")) == ["1", "1.whole", "leave."]
        assert "has no generation 1.gpu" in await machine.script(choice="1.gpu")
        await asyncio.to_thread(storeboot, path, "gc", "--keep", 0)
        await machine.begin(inside)
    set_up(path, after='specialisation = "gpu"\n')
    said = await fails(tmp_path, "deploy", "lab2", inside.text, "--config", str(path))
    assert "has no specialisation 'gpu', which host lab2 boots: its link is no link to the" in said


async def test_a_room_that_chooses_the_same_builds_it_once(
    config: Config, path: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    special = make_system(config, tmp_path, 1)
    system = make_system(config, tmp_path, 2, gaming=special)
    await asyncio.to_thread(storeboot, path, "deploy", "lab1", system)
    async with serving(path) as (machine, _):
        built = Counter[str]()

        def count(system: System, **options: Any) -> builder.Initrd:
            built[system.toplevel.text] += 1
            return builder.build(system, **options)

        monkeypatch.setattr(systems, "build", count)
        asked = [machine.script(choice="1.gaming") for _ in range(8)]
        scripts = await asyncio.gather(*asked)
        assert all(f"init={special}/init" in script for script in scripts)
        assert built == {special.text: 1}


async def test_a_host_of_a_specialisation(config: Config, path: Path, tmp_path: Path) -> None:
    special = make_system(config, tmp_path, 1)
    system = make_system(config, tmp_path, 2, gaming=special)
    without = make_system(config, tmp_path, 3)
    set_up(path, after='specialisation = "gaming"\n')
    said = await fails(tmp_path, "deploy", "lab1", without, "--config", path)
    assert "has no specialisation 'gaming', which host lab1 boots" in said
    await asyncio.to_thread(storeboot, path, "deploy", "lab1", system)
    async with serving(path) as (machine, _):
        assert f"init={special}/init" in await machine.script()
        await machine.begin(special)
        assert "choose --default 1.gaming" in await machine.script("/menu")
        # A test of a system with the specialisation is used up by the specialisation's boot.
        newer = make_system(config, tmp_path, 4, gaming=make_system(config, tmp_path, 5))
        await asyncio.to_thread(storeboot, path, "deploy", "--test", "lab1", newer)
        match = re.search(r"init=(\S+)/init", await machine.script())
        assert match is not None
        await machine.begin(type(special)(match[1]))
        assert f"init={special}/init" in await machine.script()
        await asyncio.to_thread(storeboot, path, "gc", "--keep", 0)
        collect_garbage(config)
        assert exists(config, special)


async def test_an_unknown_machine_boots_like_the_default(
    config: Config, path: Path, tmp_path: Path
) -> None:
    one, two = (make_system(config, tmp_path, number) for number in (1, 2))
    set_up(path, '[machines]\nunknown = "default"\ndefault = "lab1"\n')
    await asyncio.to_thread(storeboot, path, "deploy", "lab1", one)
    await asyncio.to_thread(storeboot, path, "deploy", "--test", "lab1", two, WAIT)
    async with serving(path) as (machine, running):
        machine.mac, machine.host = STRANGER, "lab1-525400000099"
        script = await machine.script()
        assert f"init={one}/init" in script, "a stranger took the host's test"
        assert "storeboot.host=lab1-525400000099" in script
        boot = await machine.begin(one)
        assert boot["hostname"] == machine.host
        assert boot["ssh_host_key"] == "no"
        await machine.reach(boot, "multi-user")
        status = json.loads(await asyncio.to_thread(storeboot, path, "status", "--json"))
        assert status[machine.host]["stage"] == "multi-user"
        assert status["lab1"]["boot"] is None
        unknown = await asyncio.to_thread(storeboot, path, "host", "list", "--unknown")
        assert STRANGER in unknown
        events = running.service.boots.events_since("lab1-525400000099", 0)
        assert {event.stage for event in events} == {"multi-user"}, "what nobody has begun"
        with pytest.raises(aiohttp.ClientResponseError, match="only known hosts may send reports"):
            await machine.report(boot, "facts")
        machine.host = "lab1-525400000098"
        with pytest.raises(AssertionError, match="is not host"):
            await machine.begin(one)
        # What is forgotten of machines that are gone holds nothing.
        running.service.boots.forget_others({"lab1"}, time.time() + 1)
        assert running.service.boots.latest("lab1-525400000099") is None


async def test_what_is_forgotten_of_unknown_machines(config: Config, path: Path) -> None:
    set_up(path, '[machines]\nunknown = "default"\ndefault = "lab1"\n')
    now = time.time()
    with opened(configuration.load(path)) as inventory:

        def begun(number: int, **changed: object) -> str:
            values = {"id": f"{number:016x}", "host": f"lab1-{number:012x}", "view": "0" * 32,
                      "system": "/nix/store/x", "nonce": f"{number:032x}", "machine": "",
                      "address": "", "began_at": now - 7200, "seen_at": now, **changed}  # fmt: skip
            return inventory.boots.begin(Boot(**values)).id  # type: ignore[arg-type]

        runs = begun(1)
        speaks = begun(2, ended_at=now - 3600, ended_by="boot")  # somebody else took its name
        off = begun(3, ended_at=now - 3600, ended_by="shutdown")
        superseded = begun(4, seen_at=now - 3700, ended_at=now - 3600, ended_by="boot")
        made_up = begun(5, seen_at=now - 7200)
        assert inventory.boots.count_like("lab1", now) == 2
        for boot, stays in ((runs, True), (speaks, True), (off, False), (superseded, False),
                            (made_up, False)):  # fmt: skip
            assert (inventory.boots.get(boot) is not None) is stays


async def test_an_added_host_that_an_edit_made_invalid_loses_nothing_and_can_be_mended(
    config: Config, path: Path, tmp_path: Path
) -> None:
    system = make_system(config, tmp_path, 1)
    label = '[groups.room]\npersist_label = "state"\n'
    plain = set_up(path, after=label)
    await asyncio.to_thread(
        storeboot, path, "host", "add", "lab2", "--mac", STRANGER, "--group", "room",
        "--persist-directory", "/home", "--system", system,
    )  # fmt: skip
    await asyncio.to_thread(path.write_text, plain + "[groups.room]\n")
    async with serving(path) as (machine, _):
        machine.mac = STRANGER
        assert "persist_label and persist_directories need each other" in await machine.script()
    said = await fails(tmp_path, "gc", "--keep", 0, "--config", path)
    assert "host 'lab2' is invalid" in said
    await asyncio.to_thread(
        storeboot, path, "host", "set", "lab2", "--unset", "persist-directories"
    )
    await asyncio.to_thread(storeboot, path, "gc", "--keep", 0)
    async with serving(path) as (machine, _):
        machine.mac = STRANGER
        assert f"init={system}/init" in await machine.script()


async def test_somebody_chooses_what_an_unknown_machine_boots_like(
    config: Config, path: Path, tmp_path: Path
) -> None:
    system = make_system(config, tmp_path, 1)
    set_up(path, '[machines]\nunknown = "menu"\n')
    await asyncio.to_thread(storeboot, path, "deploy", "lab1", system)
    async with serving(path) as (machine, _):
        machine.mac, machine.host = STRANGER, "lab1-525400000099"
        menu = await machine.script()
        assert items(menu) == ["lab1", "leave."]
        assert "choose --default leave. --timeout 120000 chosen" in menu
        script = await machine.script(like="lab1")
        assert f"init={system}/init" in script
        assert f"mac={STRANGER.replace(':', '%3A')}&uuid=&serial=&like=lab1" in script
        assert "there is no host lab9" in await machine.script(like="lab9")
        await machine.begin(system)


async def test_a_label_that_firmware_alone_can_tell(
    config: Config, path: Path, tmp_path: Path
) -> None:
    system = make_system(config, tmp_path, 1)
    await asyncio.to_thread(
        storeboot, path, "host", "add", "lab2", "--label", "asset=LAB 7", "--system", system
    )
    said = await fails(tmp_path, "host", "add", "lab3", "--label", "asset=To be filled by O.E.M.",
                       "--config", path)  # fmt: skip
    assert "is not of the form asset=LAB-7, or many boards have it" in said
    answer = await asyncio.to_thread(
        storeboot, path, "host", "whois", "--label", "asset=LAB 7", "--json"
    )
    assert json.loads(answer)["host"] == "lab2"
    async with serving(path) as (machine, _):
        machine.mac, machine.host = STRANGER, "lab2"
        assert "&label.asset=${asset:uristring} ||" in await machine.script("/boot.ipxe")
        script = await machine.script(**{"label.asset": "LAB 7"})
        assert "label.asset=LAB%207" in script
        with pytest.raises(AssertionError, match="is not host"):
            await machine.begin(system)
        with pytest.raises(AssertionError, match="is not host"):
            await machine.begin(system, ticket="0" * 16)
        await machine.begin(system, ticket=ticket(script))
        machine.mac = MAC
        with pytest.raises(AssertionError, match="is not host"):
            await machine.begin(system, ticket=ticket(script))


async def test_machines_start_so_many_at_a_time(config: Config, path: Path, tmp_path: Path) -> None:
    set_up(path, "[boots]\nat_once = 1\n")
    system = make_system(config, tmp_path, 1)
    await asyncio.to_thread(storeboot, path, "deploy", "lab1", system)
    await asyncio.to_thread(
        storeboot, path, "host", "add", "lab2", "--mac", STRANGER, "--system", system
    )
    async with serving(path) as (machine, running):
        other = Machine(machine._http, "lab2", STRANGER)
        assert "init=" in await machine.script()
        waiting = await other.script()
        assert "1 machines are starting, this one waits for its turn" in waiting
        assert f"/boot?mac={STRANGER.replace(':', '%3A')}&uuid=&serial=" in waiting
        boot = await machine.begin(system)
        assert "init=" not in await other.script()
        await machine.reach(boot, "multi-user")
        assert "init=" in await other.script()
        assert "init=" not in await machine.script()
        running.service.clock = lambda: time.time() + STALLED + 1
        assert "init=" in await machine.script()
