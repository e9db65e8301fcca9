"""systemd as the first process of namespaces of its own: a machine for units, in a second.

Its file system is this one's with a layer above it, in memory. All that a test installs and all
that units write is gone with the machine. Its network is a namespace that the test has made.
"""

from __future__ import annotations

import os
import signal
import sys
import sysconfig
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from network.lab import Namespace
from storeboot.errors import CommandError
from storeboot.process import run

ROOT = Path(__file__).parents[2]
INIT = Path(__file__).with_name("init.sh")
SYSTEMD = Path("/lib/systemd/systemd")
LIFETIME = 1200  # seconds, should nobody be left to end it


@dataclass(frozen=True, slots=True)
class Machine:
    """A running systemd."""

    network: Namespace
    pid: int  # of systemd, as it is seen from here
    directory: Path

    @property
    def root(self) -> Path:
        """Its file system, as it is seen from here."""
        return Path(f"/proc/{self.pid}/root")

    def run(self, *words: str | Path, seconds: float = 60) -> str:
        argv = ["nsenter", "--target", str(self.pid), "--all", "--wd=/", *words]
        return run(argv, seconds=seconds)

    def shell(self, line: str) -> str:
        """A line as root would type it."""
        return self.run("sh", "-euc", line)

    def status(self, unit: str, name: str) -> str:
        return self.run("systemctl", "show", "--value", "--property", name, unit).strip()

    def main_pid(self, unit: str) -> int:
        """The pid of a unit's main process as it is seen from here; 0 if there is none."""
        return next((pid for pid, own in self._pids(unit) if own == self.status_pid(unit)), 0)

    def status_pid(self, unit: str) -> int:
        return int(self.status(unit, "MainPID"))

    def pids(self, unit: str) -> dict[int, str]:
        """All processes of a unit as they are seen from here, with their command lines."""
        found = {}
        for pid, _ in self._pids(unit):
            with suppress(OSError):
                words = Path(f"/proc/{pid}/cmdline").read_bytes().replace(b"\0", b" ")
                found[pid] = words.decode().strip()
        return found

    def _pids(self, unit: str) -> Iterator[tuple[int, int]]:
        """Each pid here and in the machine."""
        own = Path(f"/proc/{self.pid}/cgroup").read_text().rpartition("::")[2].strip()
        group = cgroups() / own.lstrip("/").removesuffix("/init.scope") / "system.slice" / unit
        try:
            pids = (group / "cgroup.procs").read_text().split()
        except OSError:
            return
        for pid in pids:
            with suppress(OSError, IndexError):
                status = Path(f"/proc/{pid}/status").read_text()
                inside = status.partition("\nNSpid:")[2].partition("\n")[0].split()
                yield int(pid), int(inside[-1])

    def journal(self, unit: str = "", last: int = 100) -> str:
        words = ["--unit", unit] if unit else []
        return self.run("journalctl", "--no-pager", "--output=cat", f"--lines={last}", *words)

    def until(self, condition: Callable[[], Any], seconds: float, what: str = "") -> Any:
        """What the condition gives at last. It is other processes' doing: look."""
        deadline = time.monotonic() + seconds
        while not (found := condition()):
            if time.monotonic() > deadline:
                raise AssertionError(f"{what or condition} within {seconds} s; {self.journal()}")
            time.sleep(0.1)
        return found


def processes(pid: int) -> dict[str, str]:
    """/proc/PID/status."""
    lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    return {name: value.strip() for name, _, value in (line.partition(":") for line in lines)}


def cgroups() -> Path:
    """Where the one hierarchy of control groups is."""
    for line in Path("/proc/self/mountinfo").read_text().splitlines():
        fields, _, kind = line.partition(" - ")
        if kind.startswith("cgroup2 "):
            return Path(fields.split()[4])
    raise FileNotFoundError("no file system of the kind cgroup2 is mounted")


@contextmanager
def booted(network: Namespace) -> Iterator[Machine]:
    """A machine with storeboot at /opt/storeboot, as a virtual environment of its own."""
    directory = Path(tempfile.mkdtemp(prefix="storeboot-systemd-"))
    group = cgroups() / directory.name
    group.mkdir()
    words = [
        "timeout", "--kill-after=1", str(LIFETIME),
        *network.argv("unshare", "--mount", "--pid", "--fork", "--kill-child", "--uts", "--ipc",
                      "--propagation=private", "sh", INIT, directory, ROOT, sys.base_prefix,
                      sysconfig.get_path("purelib")),
    ]  # fmt: skip
    start = f'echo 0 >"$1"; shift; "$@" </dev/null >{directory}/console 2>&1 & '
    try:
        run(["sh", "-c", start, "sh", group / "cgroup.procs", *map(str, words)], seconds=10)
        machine = Machine(network, _first_process(group, directory), directory)
        state = machine.run("systemctl", "is-system-running", "--wait", seconds=60)
        assert state.strip() == "running"
        yield machine
    finally:
        _end(group)
        (directory / "console").unlink(missing_ok=True)
        directory.rmdir()


def _first_process(group: Path, directory: Path) -> int:
    """systemd, once it answers."""
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline:
        with suppress(OSError, IndexError, CommandError):
            pid = int((group / "machine" / "init.scope" / "cgroup.procs").read_text().split()[0])
            run(["nsenter", "--target", str(pid), "--all", "systemctl", "show-environment"],
                seconds=10)  # fmt: skip
            return pid
        time.sleep(0.05)
    raise AssertionError((directory / "console").read_text())


def _end(group: Path) -> None:
    """systemd ignores SIGTERM from its own namespace's outside; all of the group is killed."""
    (group / "cgroup.kill").write_text("1")
    deadline = time.monotonic() + 30
    while "populated 1" in (group / "cgroup.events").read_text():
        assert time.monotonic() < deadline
        time.sleep(0.02)
    for place, _, _ in os.walk(group, topdown=False):
        Path(place).rmdir()


def send(pid: int, number: signal.Signals) -> None:
    with suppress(ProcessLookupError):
        os.kill(pid, number)
