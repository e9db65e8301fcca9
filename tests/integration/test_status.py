"""What an operator is told of machines that were refused, and where no server runs."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import aiohttp
import pytest
from structlog.testing import capture_logs

from integration.deploying import STOREBOOT, Machine, generations, make_system, storeboot
from integration.servers import MAC
from integration.test_cli import fails
from storeboot import config as configuration
from storeboot.config import Config
from storeboot.nfs.views import view_id
from storeboot.process import run
from storeboot.serve import server

MISTYPED = MAC[:-1] + "7"  # the host's MAC address has a typing error: its machine asks so
STRANGER = "98:76:54:32:10:ff"


@pytest.fixture
def quick(path: Path) -> Path:
    """A configuration whose machines speak every second."""
    path.write_text(path.read_text() + "[agent]\nheartbeat = 1\n")
    return path


@pytest.fixture
def room(path: Path) -> Path:
    """A configuration with a group."""
    path.write_text(path.read_text() + "[groups.room]\n")
    return path


async def status(path: Path) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(await asyncio.to_thread(storeboot, path, "status", "--json"))
    return found


async def test_a_host_without_a_system_and_a_mistyped_mac_are_seen(
    config: Config, path: Path
) -> None:
    async with (
        server.running(config) as running,
        aiohttp.ClientSession(running.service.url) as http,
    ):
        with capture_logs() as lines:
            assert "did you mean" not in await Machine(http, mac=MISTYPED).script()
            assert "no host has mac" in await Machine(http, mac=STRANGER).script()
            shown = await status(path)
            assert shown["lab1"]["state"] == "unseen"
            for _ in range(3):
                assert "lab1 has no system" in await Machine(http).script()
        told = [line for line in lines if line["event"] == "machine.refused"]
        assert [(line["mac"], line["host"]) for line in told] == [
            (MISTYPED, None), (STRANGER, None), (MAC, "lab1")
        ]  # fmt: skip
        assert told[0]["reason"].endswith("; did you mean host lab1?")
        shown = await status(path)
        assert (shown["lab1"]["state"], shown["lab1"]["runs"]) == ("refused", None)
        assert "host lab1 has no system; storeboot deploy lab1" in shown["lab1"]["meaning"]
        refusals = shown["_server"]["refusals"]
        assert [(each["mac"], each["like"], each["count"]) for each in refusals] == [
            (MAC, "", 3), (STRANGER, "", 1), (MISTYPED, "lab1", 1)
        ]  # fmt: skip
        assert all(each["address"] == "127.0.0.1" for each in refusals)
        assert refusals[0]["at"] == pytest.approx(time.time(), abs=60)
        text = await asyncio.to_thread(storeboot, path, "status")
        assert "refused: host lab1 has no system" in text
        assert f"no host has mac {MISTYPED}, uuid ; did you mean host lab1?" in text


async def test_a_machine_that_boots_at_last_is_refused_no_more(
    config: Config, path: Path, tmp_path: Path
) -> None:
    system = make_system(config, tmp_path, 1)
    async with (
        server.running(config) as running,
        aiohttp.ClientSession(running.service.url) as http,
    ):
        machine = Machine(http)
        await machine.script()
        body = f"host=lab1\nview={view_id([system.text]).hex()}\nmac={MAC}\nnonce={'0' * 32}\n"
        async with http.post("/boots", data=body) as response:
            assert response.status == 403
        async with http.get(f"/views/{'0' * 32}/initrd", params={"host": "lab1"}) as response:
            assert response.status == 404
        gone, refused = running.service.refusing.all()
        assert (refused.host, refused.count) == ("lab1", 2)
        # Who asks for a file does not prove to be anybody.
        assert (gone.asker, gone.host, gone.reason) == (
            "127.0.0.1", "", f"view {'0' * 32} is not kept"
        )  # fmt: skip
        await asyncio.to_thread(storeboot, path, "deploy", "lab1", system)
        assert f"init={system}/init" in await machine.script()
        assert MAC not in [each.mac for each in running.service.refusing.all()]
        boot = await machine.begin(system)
        await machine.reach(boot, "multi-user")
        shown = await status(path)
        assert [each["address"] for each in shown["_server"]["refusals"]] == ["127.0.0.1"]
        assert [each["mac"] for each in shown["_server"]["refusals"]] == [""]
        assert (shown["lab1"]["state"], shown["lab1"]["meaning"]) == ("up", "the machine is up")
        assert (shown["lab1"]["runs"], shown["lab1"]["booted"]) == (system.text, system.text)
        # Somebody else asks for a neighbour's number: its owner was seen, so it is not meant.
        await Machine(http, mac=MISTYPED).script()
        assert [each.like for each in running.service.refusing.all()] == ["", ""]
    said = await asyncio.to_thread(_stderr_of, path)
    assert "no server is running; this is what was known until" in said


def _stderr_of(path: Path) -> str:
    argv = [str(STOREBOOT), "status", "--config", str(path)]
    return run(["/bin/sh", "-c", 'exec "$@" 2>&1 >/dev/null', "sh", *argv])


async def test_a_machine_that_is_unplugged_becomes_silent(
    config: Config, quick: Path, tmp_path: Path
) -> None:
    system = make_system(config, tmp_path, 1)
    await asyncio.to_thread(storeboot, quick, "deploy", "lab1", system)
    loaded = configuration.load(quick)
    async with (
        server.running(loaded) as running,
        aiohttp.ClientSession(running.service.url) as http,
    ):
        machine = Machine(http)
        boot = await machine.begin(system)
        await machine.reach(boot, "multi-user")
        await machine.heartbeat(boot)

        async def is_silent() -> bool:
            shown = (await status(quick))["lab1"]
            assert shown["state"] in ("up", "silent")
            return bool(shown["state"] == "silent")

        async with asyncio.timeout(60):
            while not await is_silent():  # noqa: ASYNC110 (time passes)
                await asyncio.sleep(0.5)
        text = await asyncio.to_thread(storeboot, quick, "status")
        assert "no sign of life for" in text
        await machine.heartbeat(boot)
        assert (await status(quick))["lab1"]["state"] == "up"


async def without_server(
    path: Path, directory: Path, words: Callable[[object], tuple[object, ...]]
) -> None:
    config = configuration.load(path)
    one, two = (make_system(config, directory, number) for number in (1, 2))
    await asyncio.to_thread(storeboot, path, "deploy", "lab1", one)
    said = await fails(directory, *words(two), "--config", path)
    assert "error: no server is running: nothing was done" in said
    assert "hint: start storeboot serve, or give --wait-for-server" in said
    assert [system for _, system, _ in generations(path)] == [one.text]
    assert json.loads(storeboot(path, "rollout", "list", "--json")) == []


@pytest.mark.parametrize("option", ["--reboot", "--kexec", "--batch=1", "--test"])
async def test_what_needs_a_server_does_nothing_without_one(
    path: Path, tmp_path: Path, option: str
) -> None:
    await without_server(path, tmp_path, lambda system: ("deploy", "lab1", system, option))


async def test_nobody_follows_a_rollout_without_a_server(
    config: Config, path: Path, tmp_path: Path
) -> None:
    one, two = (make_system(config, tmp_path, number) for number in (1, 2))
    await asyncio.to_thread(storeboot, path, "deploy", "lab1", one)
    words = ("deploy", "lab1", two, "--reboot", "--no-wait", "--wait-for-server")
    await asyncio.to_thread(storeboot, path, *words)
    said = await fails(tmp_path, "rollout", "follow", 1, "--config", path)
    assert "error: no server is running: rollout 1 waits for it" in said
    async with server.running(config):
        pass  # it was up a moment ago, and is no more
    said = await fails(tmp_path, "rollout", "follow", 1, "--config", path)
    assert "error: no server is running" in said


async def test_a_room_that_is_held_gets_nothing_and_that_is_an_error(
    room: Path, tmp_path: Path, config: Config
) -> None:
    for number in (1, 2):
        mac = f"52:54:00:00:02:0{number}"
        words = ("host", "add", f"r{number}", "--mac", mac, "--group", "room")
        await asyncio.to_thread(storeboot, room, *words)
    await asyncio.to_thread(storeboot, room, "hold", "room", "--reason", "an exam")
    system = make_system(config, tmp_path, 1)
    said = await fails(tmp_path, "deploy", "room", system, "--config", room)
    assert "error: no host got the system: all 2 of them are held" in said
