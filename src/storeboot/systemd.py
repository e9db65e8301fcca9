"""What systemd is told (sd_notify(3)) and gives (sd_listen_fds(3)); nothing without it."""

from __future__ import annotations

import os
import socket
import time


def sd_notify(message: str) -> None:
    address = os.environ.get("NOTIFY_SOCKET", "")
    if not address:
        return
    if address[0] == "@":
        address = "\0" + address[1:]
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC) as notify:
        notify.sendto(message.encode(), address)


def reloading() -> None:
    """A reload begins; READY=1 ends it (Type=notify-reload)."""
    sd_notify(f"RELOADING=1\nMONOTONIC_USEC={time.clock_gettime_ns(time.CLOCK_MONOTONIC) // 1000}")


def watchdog_seconds() -> float | None:
    """Within which systemd wants a sign of life (sd_watchdog_enabled(3)); None if it wants none."""
    if os.environ.get("WATCHDOG_PID", str(os.getpid())) != str(os.getpid()):
        return None
    microseconds = int(os.environ.get("WATCHDOG_USEC", "0"))
    return microseconds / 1e6 if microseconds > 0 else None


_FIRST_FD = 3


def listen_fds() -> dict[str, list[socket.socket]]:
    """Listening sockets that systemd has bound, by their FileDescriptorName.

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
