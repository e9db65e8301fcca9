"""`deploy --test`: a generation is tried by one boot, and taken back by itself."""

from __future__ import annotations

import asyncio
import json
import re
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import aiohttp
import pytest

from integration.deploying import (
    STOREBOOT,
    WAIT,
    Machine,
    generations,
    killed_at,
    make_system,
    storeboot,
)
from integration.test_cli import fails
from storeboot.config import Config
from storeboot.nix.store import StorePath
from storeboot.process import Child
from storeboot.serve import server


@pytest.fixture(autouse=True)
def only_when_told(monkeypatch: pytest.MonkeyPatch) -> None:
    """The server looks at tests and rollouts when a test says so, not every few seconds as well."""
    monkeypatch.setattr("storeboot.serve.chores.TEST_SECONDS", 3600.0)


@asynccontextmanager
async def under_test(
    config: Config, path: Path, directory: Path, *options: object
) -> AsyncIterator[tuple[Machine, StorePath, StorePath, server.Server]]:
    """A machine whose second generation is on probation."""
    one, two = (make_system(config, directory, number) for number in (1, 2))
    await asyncio.to_thread(storeboot, path, "deploy", "lab1", one)
    await asyncio.to_thread(storeboot, path, "deploy", "--test", "lab1", two, WAIT, *options)
    async with (
        server.running(config) as running,
        aiohttp.ClientSession(running.service.url) as http,
    ):
        yield Machine(http), one, two, running


def verdict(path: Path) -> tuple[str, str]:
    row = json.loads(storeboot(path, "generations", "lab1", "--json"))[1]
    return row["test"]["standing"], row["test"]["reason"]


async def test_a_test_that_does_not_come_up_is_taken_back_and_says_why(
    config: Config, path: Path, tmp_path: Path
) -> None:
    async with under_test(config, path, tmp_path) as (machine, one, two, _):
        for _ in range(3):  # whoever asks, nothing is eaten
            assert f"init={two}/init" in await machine.script()
        boot = await machine.begin(two, "f" * 32)
        again = await machine.begin(two, "f" * 32)  # its answer was lost
        assert again["boot"] == boot["boot"]
        assert verdict(path)[0] == "running"
        assert f"init={one}/init" in await machine.script()
        await machine.reach(boot, "failed", "mount: no such file\nmore words")
        assert verdict(path) == ("failed", "mount: no such file\nmore words")
        assert "failed: mount: no such file" in storeboot(path, "generations", "lab1")
        await machine.begin(one)
        assert f"init={one}/init" in await machine.script()
        assert generations(path) == [(1, one.text, True), (2, two.text, False)]


async def test_an_old_request_that_is_sent_again_decides_no_test(
    config: Config, path: Path, tmp_path: Path
) -> None:
    async with under_test(config, path, tmp_path) as (machine, one, two, running):
        old = await machine.begin(one, "e" * 32)
        await machine.reach(old, "multi-user")
        new = await machine.begin(two)
        with pytest.raises(AssertionError, match="begun already"):
            await machine.begin(one, "e" * 32)
        assert verdict(path)[0] == "running"
        await machine.reach(new, "multi-user")
        assert verdict(path)[0] == "passed"
        with pytest.raises(AssertionError, match="begun already"):
            await machine.begin(one, "e" * 32)
        assert verdict(path)[0] == "passed"
        assert running.service.boots.latest("lab1") is not None


async def test_a_test_whose_machine_boots_again_has_failed(
    config: Config, path: Path, tmp_path: Path
) -> None:
    async with under_test(config, path, tmp_path) as (machine, one, two, _):
        await machine.begin(two)
        await machine.begin(one)
        assert verdict(path) == ("failed", "the machine booted again before it reached multi-user")


async def test_a_test_that_takes_too_long_has_failed_and_the_machine_boots_again(
    config: Config, path: Path, tmp_path: Path
) -> None:
    async with under_test(config, path, tmp_path, "--timeout", 60) as (machine, one, two, running):
        boot = await machine.begin(two)
        await running.service.settle_tests()
        assert verdict(path)[0] == "running"
        running.service.clock = lambda: time.time() + 61
        await running.service.settle_tests()
        assert verdict(path) == ("failed", "no multi-user within 60 s")
        assert await machine.heartbeat(boot) == "reboot"
        assert f"init={one}/init" in await machine.script()


async def test_a_machine_whose_stage_2_gives_up_fails_its_test_and_is_told_to_reboot(
    config: Config, path: Path, tmp_path: Path
) -> None:
    async with under_test(config, path, tmp_path) as (machine, one, two, _):
        boot = await machine.begin(two)
        await machine.reach(boot, "agent")
        assert await machine.heartbeat(boot) == ""
        await machine.reach(boot, "failed", "emergency mode: data.mount (exit-code)")
        assert verdict(path) == ("failed", "emergency mode: data.mount (exit-code)")
        assert await machine.heartbeat(boot) == "reboot"
        (row,) = [each for each in rows_of(path) if each["host"] == "lab1"]
        assert (row["state"], row["stage"]) == ("emergency", "failed")
        assert row["words"] == "the machine is in emergency mode: data.mount (exit-code)"
        assert f"init={one}/init" in await machine.script()


async def test_a_machine_that_fails_without_a_test_or_is_held_is_left_as_it_is(
    config: Config, path: Path, tmp_path: Path
) -> None:
    async with under_test(config, path, tmp_path) as (machine, _, two, _):
        boot = await machine.begin(two)
        await asyncio.to_thread(storeboot, path, "hold", "lab1", "--reason", "a look at it")
        await machine.reach(boot, "failed", "rescue mode")
        assert verdict(path) == ("failed", "rescue mode")
        assert await machine.heartbeat(boot) == ""
        await asyncio.to_thread(storeboot, path, "release", "lab1")
        await machine.reach(boot, "failed", "rescue mode")
        assert await machine.heartbeat(boot) == ""


async def test_a_test_that_waits_for_units_names_them(
    config: Config, path: Path, tmp_path: Path
) -> None:
    async with under_test(config, path, tmp_path, "--timeout", 60) as (machine, _, two, running):
        boot = await machine.begin(two)
        for units in ("early.service", "hang.service, other.service"):
            await machine.reach(boot, "waiting", units)
        (row,) = [each for each in rows_of(path) if each["host"] == "lab1"]
        assert row["stage"] == "waiting"
        assert row["words"].endswith("units: hang.service, other.service")
        running.service.clock = lambda: time.time() + 61
        await running.service.settle_tests()
        assert verdict(path) == (
            "failed",
            "no multi-user within 60 s; the machine waits for hang.service, other.service",
        )
        assert await machine.heartbeat(boot) == "reboot"


async def test_a_machine_that_is_up_with_failed_units_passes_and_names_them(
    config: Config, path: Path, tmp_path: Path
) -> None:
    async with under_test(config, path, tmp_path) as (machine, _, two, _):
        boot = await machine.begin(two)
        await machine.reach(boot, "degraded", "cups.service (exit-code)")
        assert verdict(path)[0] == "running"
        await machine.reach(boot, "multi-user")
        await machine.reach(boot, "degraded", "cups.service (exit-code)")
        assert verdict(path)[0] == "passed"
        (row,) = [each for each in rows_of(path) if each["host"] == "lab1"]
        assert row["stage"] == "degraded"
        assert row["words"].endswith("failed: cups.service (exit-code)")


def rows_of(path: Path) -> list[dict[str, str]]:
    """The table of `status`: host, state, stage, and what it says of it."""
    lines = [re.split(r" {2,}", line) for line in storeboot(path, "status").splitlines()[1:]]
    names = ("host", "state", "stage")
    return [{**dict(zip(names, line, strict=False)), "words": line[-1]} for line in lines]


@pytest.mark.parametrize("auto", [False, True])
async def test_a_test_that_comes_up_waits_for_its_confirmation(
    config: Config, path: Path, tmp_path: Path, auto: bool
) -> None:
    options = ["--auto-confirm"] if auto else []
    async with under_test(config, path, tmp_path, *options) as (machine, one, two, _):
        boot = await machine.begin(two)
        assert "is running" in await fails(tmp_path, "confirm", "lab1", "--config", path)
        await machine.reach(boot, "multi-user")
        if not auto:
            assert verdict(path)[0] == "passed"
            assert f"init={one}/init" in await machine.script()
            await asyncio.to_thread(storeboot, path, "confirm", "lab1")
        assert verdict(path)[0] == "confirmed"
        assert generations(path) == [(1, one.text, False), (2, two.text, True)]
        assert f"init={two}/init" in await machine.script()


async def test_a_server_killed_before_it_confirms_does_so_when_it_is_back(
    config: Config, path: Path, tmp_path: Path
) -> None:
    one, two = (make_system(config, tmp_path, number) for number in (1, 2))
    await asyncio.to_thread(storeboot, path, "deploy", "lab1", one)
    await asyncio.to_thread(
        storeboot, path, "deploy", "--test", "--auto-confirm", "lab1", two, WAIT
    )
    child = await Child.start(
        ["/usr/bin/env", "STOREBOOT_DIE_AT=test.passed", STOREBOOT, "serve", "-c", path],
        output=tmp_path / "output",
    )
    url = f"http://127.0.0.1:{config.http.port}"
    async with asyncio.timeout(60):
        while "serve.ready" not in (tmp_path / "output").read_text():  # noqa: ASYNC110 (a file)
            await asyncio.sleep(0.1)
    async with aiohttp.ClientSession(url) as http:
        machine = Machine(http)
        boot = await machine.begin(two)
        with pytest.raises(aiohttp.ClientError):
            await machine.reach(boot, "multi-user")
    assert await child.wait() == -9
    assert verdict(path)[0] == "passed"
    async with server.running(config) as running:
        await running.service.settle_tests()
    assert verdict(path)[0] == "confirmed"
    assert (2, two.text, True) in generations(path)


async def test_another_deployment_ends_a_test_and_gc_takes_neither_side_of_one(
    config: Config, path: Path, tmp_path: Path
) -> None:
    async with under_test(config, path, tmp_path) as (machine, one, two, _):
        await asyncio.to_thread(storeboot, path, "gc", "--keep", 0)
        assert generations(path) == [(1, one.text, False), (2, two.text, True)]
        said = await fails(tmp_path, "deploy", "--test", "lab1", one, "--config", path)
        assert "already boots" in said
        three, four = (make_system(config, tmp_path, number) for number in (3, 4))
        await asyncio.to_thread(storeboot, path, "deploy", "--test", "lab1", three)
        assert verdict(path)[0] == "dropped"
        assert f"init={three}/init" in await machine.script()
        await machine.begin(three)
        assert f"init={one}/init" in await machine.script()
        await asyncio.to_thread(storeboot, path, "deploy", "lab1", four)
        assert f"init={four}/init" in await machine.script()


async def test_a_test_needs_something_to_fall_back_to(
    config: Config, path: Path, tmp_path: Path
) -> None:
    system = make_system(config, tmp_path, 1)
    said = await fails(tmp_path, "deploy", "--test", "lab1", system, WAIT, "--config", path)
    assert "no generation to fall back to" in said


@pytest.mark.parametrize("point", ["deploy.prepared", "test.begun", "test.added"])
async def test_a_test_killed_at_any_point_is_pending_or_not_there(
    config: Config, path: Path, tmp_path: Path, point: str
) -> None:
    one, two = (make_system(config, tmp_path, number) for number in (1, 2))
    await asyncio.to_thread(storeboot, path, "deploy", "lab1", one)
    await killed_at(point, path, "deploy", "--test", "lab1", two, WAIT)
    made = generations(path)
    assert [system for _, system, is_next in made if is_next] == [
        two.text if point == "test.added" else one.text
    ]
    async with (
        server.running(config) as running,
        aiohttp.ClientSession(running.service.url) as http,
    ):
        machine = Machine(http)
        if point == "test.added":
            await machine.begin(two)
            assert f"init={one}/init" in await machine.script()
        await machine.begin(one)
        assert f"init={one}/init" in await machine.script()
        await asyncio.to_thread(storeboot, path, "deploy", "--test", "lab1", two)
        assert f"init={two}/init" in await machine.script()
