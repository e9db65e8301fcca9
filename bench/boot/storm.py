"""Measures many machines that start at once, as after a power cut, each a replay of one machine.

NFS is replayed from a recorded boot. Over HTTP both fetch script, kernel and initrd from storeboot;
what begins a boot, its pack and its events are of storeboot's machines alone.
"""

from __future__ import annotations

import re
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from http.client import HTTPConnection
from pathlib import Path

from bench.boot.trace import replayable
from bench.nfs import peers
from bench.nfs.client import V3, V4
from storeboot.vm.demo.build import DemoSystem

STOREBOOT = Path(sys.executable).with_name("storeboot")
SIZES = (1, 8, 64)
ADDRESS = "127.0.0.1"
_STAGES = ("drivers", "network", "begin", "mount", "overlay", "prepare", "switch-root", "agent",
           "multi-user")  # fmt: skip
_PIECE = 1 << 20


@dataclass(frozen=True, slots=True)
class Side:
    """One way, recorded."""

    name: str
    trace: Path
    calls: int
    port: int  # of the NFS server
    path: str  # to mount; empty for what storeboot gives a boot


def side(name: str, recording: Path, port: int, path: str = "") -> Side:
    """Return a way to boot, from what a relay has recorded."""
    data, calls = replayable(recording)
    trace = recording.with_suffix(".trace")
    trace.write_bytes(data)
    return Side(name, trace, calls, port, path)


@contextmanager
def serving(built: DemoSystem, state: Path, count: int) -> Iterator[peers.Peer]:
    """Run `storeboot serve` for so many hosts, with what it has learned of their system."""
    configuration = state.with_name("storm.toml")
    hosts = "".join(
        f'[hosts.m{number}]\nmac = ["{_mac(number)}"]\nsystem = "{built.toplevel}"\n'
        "ssh_host_key = false\n"
        for number in range(count)
    )
    configuration.write_text(f"""
[server]
address = "{ADDRESS}"
state_directory = "{state}"
[store]
root = "{built.store.root}"
[http]
listen = "{ADDRESS}"
port = {peers.HTTP}
[nfs]
listen = "{ADDRESS}"
port = {peers.OURS}
[boots]
at_once = 10000
{hosts}
""")
    argv = [str(STOREBOOT), "serve", "--config", str(configuration)]
    with peers.started(argv, peers.OURS, subprocess.DEVNULL) as pid:
        _until_http_answers()
        yield peers.Peer("storeboot", pid, peers.OURS, peers.OURS, "")


def boots_per_minute(way: Side, count: int, replay: Path) -> float:
    """Start all machines at once; return boots a minute when the last one is up."""
    sessions = [""] * count
    if way.path:
        data = V4(way.port, way.path).sessions(count)
        sessions = [data[16 * number : 16 * number + 16].hex() for number in range(count)]
    machines = [_Machine(way, number, sessions[number], replay) for number in range(count)]
    start = time.perf_counter()
    with ThreadPoolExecutor(count) as pool:
        for done in [pool.submit(machine.boot) for machine in machines]:
            done.result()
    return count * 60 / (time.perf_counter() - start)


class _Machine:
    """What one machine asks of its servers."""

    def __init__(self, way: Side, number: int, session: str, replay: Path) -> None:
        self._way = way
        self._number = number
        self._session = session
        self._replay = replay
        self._headers: dict[str, str] = {}

    def boot(self) -> None:
        self._ask("GET", "/boot.ipxe")
        script = self._ask("GET", f"/boot?mac={_mac(self._number)}").decode()
        view, ticket = _word(r"/views/(\w+)/kernel", script), _word(r"ticket=(\w+)", script)
        files = f"/views/{view}"
        for name in ("kernel", "initrd"):
            self._ask("GET", f"{files}/{name}?host=m{self._number}")
        if self._way.path:
            self._replay_nfs()
            return
        begin = (f"host=m{self._number}\nview={view}\nticket={ticket}\n"
                 f"nonce={time.time_ns():032x}\nmac={_mac(self._number)}\n")  # fmt: skip
        answer = self._ask("POST", "/boots", begin.encode()).decode()
        facts = dict(line.split("=", 1) for line in answer.splitlines())
        self._headers = {"Authorization": f"Bearer {facts['key']}"}
        self._ask("GET", f"{files}/database")
        self._ask("GET", f"{files}/pack/{facts['pack']}")
        V3(self._way.port, self._way.port, f"/view/{facts['token']}").connection.close()
        self._replay_nfs()
        for stage in _STAGES:
            self._ask("POST", f"/boots/{facts['boot']}/events?source=initrd&stage={stage}", b"")

    def _replay_nfs(self) -> None:
        source = f"127.0.1.{1 + self._number}"
        argv: list[str | Path] = [self._replay, ADDRESS, str(self._way.port), source, self._session or "0" * 32,
                self._way.trace]  # fmt: skip
        subprocess.run(argv, check=True)

    def _ask(self, method: str, path: str, body: bytes | None = None) -> bytes:
        """Make a request on a connection of its own, as busybox does; files are not kept."""
        connection = HTTPConnection(ADDRESS, peers.HTTP, timeout=300)
        connection.request(method, path, body, self._headers)
        response = connection.getresponse()
        if response.status != 200:
            raise ConnectionError(f"{path}: {response.status} {response.reason}")
        start = response.read(_PIECE)
        while response.read(_PIECE):
            continue
        connection.close()
        return start


def _mac(number: int) -> str:
    return f"52:54:00:00:{number >> 8:02x}:{number & 255:02x}"


def _word(pattern: str, text: str) -> str:
    found = re.search(pattern, text)
    if found is None:
        raise ConnectionError(f"no {pattern} in {text!r}")
    return found[1]


def _until_http_answers() -> None:
    """Wait until HTTP answers: the server prepares systems after NFS, and before HTTP."""
    _retry(lambda: HTTPConnection(ADDRESS, peers.HTTP, timeout=5).connect())


def _retry(action: Callable[[], object]) -> None:
    deadline = time.monotonic() + 60
    while True:
        try:
            action()
        except OSError:
            if time.monotonic() > deadline:
                raise
            time.sleep(0.2)
            continue
        return
