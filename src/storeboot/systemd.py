"""Talks to systemd: sends it messages (sd_notify(3)), and takes its sockets (sd_listen_fds(3)).

Without systemd nothing happens."""

from __future__ import annotations

import asyncio
import os
import socket
import time
from contextlib import suppress
from pathlib import Path

import structlog

log = structlog.get_logger()

BEAT_SECONDS = 2.0  # at most, between two signs of life
START_SECONDS = 15.0  # for which a start may go on after each of them


def sd_notify(message: str, seconds: float = 5.0) -> None:
    """Send a message; one that systemd does not take within so many seconds is lost.

    That is said in the log and no more: a server does not end because systemd is busy, or is itself
    being started again.
    """
    address = os.environ.get("NOTIFY_SOCKET", "")
    if not address:
        return
    if address[0] == "@":
        address = "\0" + address[1:]
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC) as notify:
        notify.settimeout(seconds)
        try:
            notify.sendto(message.encode(), address)
        except OSError as error:
            log.warning("systemd.not_told", message=message, reason=str(error))


def reloading() -> None:
    """Tell systemd that a reload begins; READY=1 ends it (Type=notify-reload)."""
    sd_notify(f"RELOADING=1\nMONOTONIC_USEC={time.clock_gettime_ns(time.CLOCK_MONOTONIC) // 1000}")


def watchdog_seconds() -> float | None:
    """Return the seconds within which systemd wants a sign of life, or None.

    See sd_watchdog_enabled(3).
    """
    if os.environ.get("WATCHDOG_PID", str(os.getpid())) != str(os.getpid()):
        return None
    microseconds = int(os.environ.get("WATCHDOG_USEC", "0"))
    return microseconds / 1e6 if microseconds > 0 else None


async def keep_awake(started: asyncio.Event) -> None:
    """Tell systemd that the loop runs, three times in each of its periods, until cancelled.

    Until `started` is set this also keeps a slow start from being ended (EXTEND_TIMEOUT_USEC of
    sd_notify(3)). Set it with READY=1: from then on the same words would put the watchdog off.
    """
    if not os.environ.get("NOTIFY_SOCKET"):
        return
    pause = min(BEAT_SECONDS, (watchdog_seconds() or BEAT_SECONDS * 3) / 3)
    extension = f"EXTEND_TIMEOUT_USEC={int(START_SECONDS * 1e6)}"
    while not started.is_set():
        sd_notify(extension, 0)
        with suppress(TimeoutError):
            await asyncio.wait_for(started.wait(), pause)
    while watchdog_seconds() is not None:
        sd_notify("WATCHDOG=1", 0)
        await asyncio.sleep(pause)


def dnsmasq_socket() -> Path | None:
    """Return the socket of the unit that runs dnsmasq for the server, or None if no unit does."""
    path = os.environ.get("STOREBOOT_DNSMASQ", "")
    return Path(path) if path else None


_FIRST_FD = 3


def listen_fds() -> dict[str, list[socket.socket]]:
    """Return the listening sockets that systemd has bound, by their FileDescriptorName.

    They stay open while the process restarts, so that clients wait instead of being refused.
    """
    if os.environ.get("LISTEN_PID") != str(os.getpid()):
        return {}
    count = int(os.environ.get("LISTEN_FDS", "0"))
    names = os.environ.get("LISTEN_FDNAMES", "").split(":")
    given: dict[str, list[socket.socket]] = {}
    for number in range(count):
        descriptor = _FIRST_FD + number
        os.set_inheritable(descriptor, False)
        name = names[number] if number < len(names) else ""
        given.setdefault(name, []).append(socket.socket(fileno=descriptor))
    return given
