"""Every process of the server is killed and stopped, one at a time, under machines at work.

They boot and read without a pause. None may see an error, or wait for longer than a promise says.
Each signal comes in the middle of a boot that needs what it hits.
"""

from __future__ import annotations

import asyncio
import json
import os
import signal
import sys
import time
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack, asynccontextmanager, nullcontext
from pathlib import Path
from typing import Any

import pytest

from network.lab import bridged, needs_root
from storeboot.process import Child
from systemd.booting_machine import SECTION, BootingMachine, booting_machine
from systemd.installed import ADDRESS, DNSMASQ, SERVICE, Installed, installed
from systemd.kernel_readers import KernelReader, kernel_reader
from systemd.machine import ROOT, Machine

pytestmark = [needs_root, pytest.mark.timeout(900)]
CLIENTS = Path(__file__).with_name("clients.py")
MAX_STALL = (
    60.0  # seconds, on a machine that is busy; docs/reliability.md has what an idle one needs
)
PATIENCE = 60.0  # seconds until something is an error, on a machine with other things to do
DHCP = """
[dhcp]
mode = "full"
[networks.lab]
interface = "br0"
address = "10.77.0.1/24"
range = ["10.77.0.100", "10.77.0.199"]
[nfs]
workers = 2
"""
SIGNALS = (signal.SIGKILL, signal.SIGSTOP)
# What the booting machine has said last when each of the signals comes: it needs the process next.
MOMENTS = {
    "main": ("storeboot: address ", "storeboot: address "),
    "worker 0": ("has begun", "storeboot: starting"),
    "worker 1": ("has begun", "storeboot: starting"),
    "dnsmasq": ("booting from", "booting from"),
    "warden": ("booting from", "booting from"),
}


def server_pids(machine: Machine) -> dict[str, int]:
    """Every process of the server's by what it does; none that is only being started."""
    found = {"main": machine.main_pid(SERVICE)}
    # By name, so that the same one keeps its place while another is replaced.
    workers = sorted(
        pid for pid, words in machine.pids(SERVICE).items() if "nfs.worker_main" in words
    )
    found |= {f"worker {number}": pid for number, pid in enumerate(workers)}
    for pid, words in machine.pids(DNSMASQ).items():
        found["dnsmasq" if "--conf-file=" in words else "warden"] = pid
    return {name: pid for name, pid in found.items() if pid}


@asynccontextmanager
async def client(machine: Machine, kind: str, source: str) -> AsyncIterator[Callable[[], Any]]:
    """A client at work; the call says what it has seen since the last one."""
    path = f"PYTHONPATH={ROOT / 'src'}:{ROOT / 'tests'}"
    argv = machine.network.argv("env", path, sys.executable, CLIENTS, kind, source)
    child = await Child.start(argv, piped=True)
    lines = child.lines()

    async def ask() -> dict[str, Any]:
        child.send(signal.SIGUSR1)
        async with asyncio.timeout(PATIENCE):
            said = await anext(lines)
        assert said.startswith("{"), said + "".join([f"\n{line}" async for line in lines])
        answer: dict[str, Any] = json.loads(said)
        return answer

    try:
        async with asyncio.timeout(PATIENCE):
            assert await anext(lines) == "ready"
        yield ask
    finally:
        await child.stop(1)


async def until_answered(ask: Callable[[], Any], kinds: str) -> dict[str, Any]:
    """Wait until there were answers again; what was seen in the whole time."""
    stall = 0.0
    wrong: list[str] = []
    deadline = time.monotonic() + PATIENCE
    for since in (0, 1):  # the first answer ends the stall, and the next look sees all of it
        while True:
            seen = await ask()
            stall, wrong = max(stall, seen["stall"]), wrong + seen["wrong"]
            if seen["answers"]:
                break
            assert time.monotonic() < deadline, f"{kinds}: no answer, {since}, {wrong}"
            await asyncio.sleep(0.2)
        await asyncio.sleep(0.3)
    return {"stall": stall, "wrong": wrong}


async def replaced(machine: Machine, before: dict[str, int], pid: int) -> float:
    """Wait until the process is gone and all kinds are there again; how long that took."""
    begun = time.monotonic()

    def done() -> bool:
        now = server_pids(machine)
        return pid not in now.values() and now.keys() == before.keys()

    await asyncio.to_thread(machine.until, done, PATIENCE, f"{pid} is replaced")
    took = time.monotonic() - begun
    # Dnsmasq is only known to stand still if it has answered before.
    await asyncio.to_thread(machine.until, lambda: is_ready(machine), PATIENCE)
    return took


def is_ready(machine: Machine) -> bool:
    """Whether the server that runs now has said that it serves, and that dnsmasq answers."""
    own = f"_PID={machine.status_pid(SERVICE)}"
    said = machine.run("journalctl", "--no-pager", "--output=cat", own)
    return "dhcp.answers" in said and "serve.ready" in said


@pytest.mark.parametrize("boots", [False, pytest.param(True, marks=pytest.mark.long)])
async def test_no_machine_notices_that_a_process_was_killed_or_stopped(
    record_property: Callable[[str, object], None], tmp_path: Path, boots: bool
) -> None:
    """With `boots` a machine boots with storeboot's initrd at each signal."""
    with (
        bridged(f"{ADDRESS}/24") as network,
        installed(network, DHCP + SECTION, dhcp=True) as service,
    ):
        async with (
            booting_machine(service, tmp_path / "boots") if boots else nullcontext() as booting,
            kernel_reader(service, "bookworm", "3", tmp_path / "one") as one,
            kernel_reader(service, "trixie", "4.2", tmp_path / "other") as other,
        ):
            if booting is not None:
                async with booting.boots("booting from"):
                    pass
                assert {"begin", "mount", "switch-root", "multi-user"} <= booting.stages()
            await _try_all(service, record_property, (one, other), booting)
            if booting is not None:
                record_property("longest time a boot was held up", booting.longest_delay())
            for reader in (one, other):
                assert not reader.complaints()
                record_property(f"{reader.machine.console} stall", reader.longest_stall())
                assert reader.longest_stall() <= MAX_STALL


async def _try_all(
    service: Installed,
    record_property: Callable[[str, object], None],
    readers: tuple[KernelReader, ...],
    booting: BootingMachine | None,
) -> None:
    machine = service.machine
    machine.until(lambda: is_ready(machine), PATIENCE)
    async with AsyncExitStack() as stack:
        clients = {
            f"{kind} {source}": await stack.enter_async_context(client(machine, kind, source))
            # Four that read: whichever worker they are given to, each has some.
            for kind, source in (
                *(("reads", f"127.0.0.{number}") for number in range(11, 15)),
                ("boots", "127.0.0.21"),
            )
        }
        for name, ask in clients.items():
            await until_answered(ask, name)
        figures = []
        for name, moments in MOMENTS.items():
            for number, moment in zip(SIGNALS, moments, strict=True):
                async with booting.boots(moment) if booting is not None else nullcontext():
                    before = server_pids(machine)
                    assert set(before) == set(MOMENTS)
                    os.kill(before[name], number)
                    took = await replaced(machine, before, before[name])
                    for reader in readers:
                        await reader.until_read(PATIENCE)
                    seen = {each: await until_answered(ask, each) for each, ask in clients.items()}
                stall = max(each["stall"] for each in seen.values())
                wrong = {each: what["wrong"] for each, what in seen.items() if what["wrong"]}
                boot = f", boot {booting.seconds[-1]:.1f} s" if booting is not None else ""
                figures.append(f"{number.name} {name}: {took:.1f} s, stall {stall:.1f} s{boot}")
                record_property(f"{number.name} {name}", figures[-1])
                assert not wrong, (figures, wrong)
                assert max(stall, took) <= MAX_STALL, figures
