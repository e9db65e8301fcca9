"""Locks between processes: every wait has an end, and a collection keeps no boot waiting."""

from __future__ import annotations

import asyncio
import contextlib
import fcntl
import os
import shutil
import stat
import sys
import time
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from integration.deploying import STOREBOOT, make_system, storeboot
from storeboot.config import Config
from storeboot.deploy.locks import locked
from storeboot.errors import StorebootError
from storeboot.process import Child, run

HOLD = """
import fcntl, sys
with open(sys.argv[1], "a") as lock:
    fcntl.flock(lock, fcntl.LOCK_EX)
    print("held", flush=True)
    fcntl.flock(open(sys.argv[2], "a"), fcntl.LOCK_EX)
"""


@contextlib.asynccontextmanager
async def held(lock: Path, scratch: Path) -> AsyncIterator[Child]:
    """A process that holds a lock until the block ends."""
    with (scratch / "end").open("a") as end:
        fcntl.flock(end, fcntl.LOCK_EX)
        argv: list[str | Path] = [sys.executable, "-c", HOLD, lock, scratch / "end"]
        child = await Child.start(argv, piped=True)
        assert await anext(child.lines()) == "held"
        try:
            yield child
        finally:
            await child.stop()


async def test_a_lock_that_is_not_to_be_had_names_who_holds_it(tmp_path: Path) -> None:
    lock = tmp_path / "lock"
    async with held(lock, tmp_path) as child:
        began = time.monotonic()
        with pytest.raises(StorebootError) as caught, locked(lock, "host lab1", seconds=0.3):
            pass
        assert time.monotonic() - began >= 0.3
        assert caught.value.message.startswith("host lab1 has been locked for more than 0 s")
        assert f"by process {child.pid} (" in caught.value.message
        assert str(lock) in (caught.value.hint or "")
    with locked(lock, "host lab1", seconds=0.3), locked(lock.with_name("other"), "another"):
        pass


def test_those_that_hold_it_together_do_not_wait_for_each_other(tmp_path: Path) -> None:
    lock = tmp_path / "lock"
    with (
        locked(lock, "it", alone=False),
        locked(lock, "it", alone=False, seconds=0),
        pytest.raises(StorebootError),
        locked(lock, "it", seconds=0),
    ):
        pass
    assert stat.S_IMODE(lock.stat().st_mode) == 0o640


def test_a_lock_can_be_had_on_a_disk_that_cannot_be_written(tmp_path: Path) -> None:
    place = tmp_path / "disk"
    place.mkdir()
    run(["mount", "-t", "tmpfs", "-o", "size=64k", "none", place])
    try:
        with locked(place / "lock", "it"):
            pass
        run(["mount", "-o", "remount,ro", place])
        with locked(place / "lock", "it"):
            pass
        with pytest.raises(StorebootError, match=r"Read-only"), locked(place / "other", "it"):
            pass
    finally:
        run(["umount", "--lazy", place])


STOP = """#!/bin/sh
# Says that it is about to run, and waits until it may.
echo "$0 $*" >"$STOPS/running"
read -r _ <"$STOPS/go"
exec {program} "$@"
"""


async def test_a_collection_runs_no_nix_while_it_keeps_boots_waiting(
    config: Config, path: Path, tmp_path: Path
) -> None:
    """Each time that it starts Nix, a boot could begin."""
    systems = [make_system(config, tmp_path, number) for number in range(3)]
    for system in systems:
        await asyncio.to_thread(storeboot, path, "deploy", "lab1", system)
    stops = tmp_path / "stops"
    stops.mkdir()
    for name in ("running", "go"):
        os.mkfifo(stops / name)
    for name in ("nix", "nix-env", "nix-store"):
        program = shutil.which(name)
        assert program is not None
        (stops / name).write_text(STOP.format(program=program))
        (stops / name).chmod(0o755)
    child = await Child.start(
        ["/usr/bin/env", f"STOPS={stops}", f"PATH={stops}:{os.environ['PATH']}",
         STOREBOOT, "gc", "--keep", "0", "--config", path],
        output=tmp_path / "output",
    )  # fmt: skip
    ended = asyncio.create_task(child.wait())
    runs: list[str] = []
    lock = config.server.state_directory / "lock"
    while not ended.done():
        said = asyncio.create_task(asyncio.to_thread((stops / "running").read_text))
        await asyncio.wait({said, ended}, return_when=asyncio.FIRST_COMPLETED)
        if ended.done():
            (stops / "running").write_text("")  # nobody else writes to it any more
            await said
            break
        runs.append(said.result())
        with lock.open("a") as stream:
            fcntl.flock(stream, fcntl.LOCK_SH | fcntl.LOCK_NB)
        await asyncio.to_thread((stops / "go").write_text, "\n")
    assert await ended == 0, (tmp_path / "output").read_text()
    assert any("--print-dead" in words for words in runs), runs
    assert "freed 2 paths" in (tmp_path / "output").read_text()
