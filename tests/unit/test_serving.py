"""The marks of a server that is up."""

from __future__ import annotations

import asyncio
import os
import signal
import sys
from pathlib import Path

import pytest

from storeboot.deploy.serving import Serving
from storeboot.process import Child

HOLDS = """
import sys, time
from pathlib import Path
from storeboot.deploy.serving import Serving
with Serving(Path(sys.argv[1])).held():
    print("held", flush=True)
    time.sleep(600)
"""


@pytest.fixture
def serving(tmp_path: Path) -> Serving:
    return Serving(tmp_path / "serving")


def test_a_server_is_seen_as_long_as_it_is_up(serving: Serving) -> None:
    assert not serving.is_held()  # it has never been there
    with serving.held():
        assert serving.is_held()
        with serving.held():  # the next one, which takes over
            assert serving.is_held()
        assert serving.is_held()
    assert not serving.is_held()


def test_who_looks_is_seen_by_nobody(serving: Serving, monkeypatch: pytest.MonkeyPatch) -> None:
    with serving.held():
        pass
    seen = []
    close = os.close

    def look_again(descriptor: int) -> None:
        with monkeypatch.context() as patch:
            patch.setattr(os, "close", close)
            seen.append(serving.is_held())
            with serving.held():
                seen.append(serving.is_held())
        close(descriptor)

    with monkeypatch.context() as patch:
        patch.setattr(os, "close", look_again)
        assert not serving.is_held()
    assert seen == [False, True]


def test_a_server_that_starts_does_not_hide_for_how_long_none_was_up(serving: Serving) -> None:
    """Leases are prolonged by that time."""
    serving.note()
    os.utime(serving.file, (1000, 1000))
    with serving.held():
        assert serving.until() == 1000


async def test_a_server_that_is_killed_is_gone(serving: Serving, tmp_path: Path) -> None:
    output = tmp_path / "output"
    child = await Child.start([sys.executable, "-c", HOLDS, serving.file], output=output)
    try:
        while "held" not in output.read_text():
            assert child.status is None, output.read_text()
            await asyncio.sleep(0.05)
        assert serving.is_held()
    finally:
        os.kill(child.pid, signal.SIGKILL)
    assert await child.wait() == -9
    assert not serving.is_held()


def test_a_disk_that_is_gone_stops_no_server(tmp_path: Path) -> None:
    serving = Serving(tmp_path / "gone" / "serving")
    with serving.held():
        assert not serving.is_held()
