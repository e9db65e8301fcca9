"""What systemd is told, over a socket like its own."""

from __future__ import annotations

import asyncio
import os
import socket
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from structlog.testing import capture_logs

from storeboot.systemd import keep_awake, sd_notify


@pytest.fixture
def notices(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[socket.socket]:
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as listening:
        listening.bind(str(tmp_path / "notify"))
        listening.settimeout(20)
        monkeypatch.setenv("NOTIFY_SOCKET", str(tmp_path / "notify"))
        monkeypatch.setenv("WATCHDOG_PID", str(os.getpid()))
        monkeypatch.setenv("WATCHDOG_USEC", "300000")
        yield listening


async def heard(notices: socket.socket) -> bytes:
    return await asyncio.to_thread(notices.recv, 100)


async def test_a_start_asks_for_time_and_a_server_that_runs_gives_signs_of_life(
    notices: socket.socket,
) -> None:
    """Never both: more time would put the watchdog off as well."""
    started = asyncio.Event()
    task = asyncio.create_task(keep_awake(started))
    for _ in range(3):
        assert await heard(notices) == b"EXTEND_TIMEOUT_USEC=15000000"
    started.set()
    while (said := await heard(notices)) != b"WATCHDOG=1":
        assert said == b"EXTEND_TIMEOUT_USEC=15000000"  # was on its way
    for _ in range(3):
        assert await heard(notices) == b"WATCHDOG=1"
    task.cancel()


async def test_without_a_watchdog_it_is_silent_once_started(
    notices: socket.socket, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("WATCHDOG_USEC")
    started = asyncio.Event()
    started.set()
    async with asyncio.timeout(10):
        await keep_awake(started)


def test_a_systemd_that_takes_nothing_keeps_nobody(notices: socket.socket) -> None:
    """Its queue is full: a message is lost, and the loop goes on."""
    begun = time.monotonic()
    with capture_logs() as logs:
        for _ in range(2000):
            sd_notify("WATCHDOG=1", 0)
    assert time.monotonic() - begun < 30
    assert "systemd.not_told" in {entry["event"] for entry in logs}


def test_a_systemd_that_is_away_ends_nobody(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NOTIFY_SOCKET", "/nowhere/notify")
    sd_notify("READY=1")
