"""Measures which protocol machines should boot with: whole boots over each, counted by the server.

And which lease: a short one makes clients hand back what they do not use just now, a long one lets
them wait longer between two attempts to connect.
"""

from __future__ import annotations

import asyncio
import sys
import time
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from tempfile import TemporaryDirectory

from bench import systems
from bench.rows import Row
from storeboot.config import NfsVersion
from storeboot.hosts.boots import Boot
from storeboot.nfs.limits import LEASE_SECONDS
from storeboot.vm.demo.build import DemoSystem
from storeboot.vm.demo.packages import Suite
from storeboot.vm.trial import Trial, TrialSpec, started, verify

BOOTS = 2  # of each kind: the counts are the same, about, the seconds are not
IDLE = 240.0  # seconds
OUTAGE = 200.0  # seconds
LEASES = (60, 180, 3600)
Calls = Counter[tuple[int, int, int]]


def boots() -> list[Row]:
    """Measure whole boots over each protocol. Takes half an hour on an emulated machine."""
    rows = []
    suites: tuple[tuple[Suite, str], ...] = (("trixie", "6.12"), ("bookworm", "6.1"))
    for suite, kernel in suites:
        built = systems.demo(suite)
        rows += asyncio.run(_boots(built, kernel))
    return rows


def leases() -> list[Row]:
    """Measure short and long leases. Takes half an hour, mostly of waiting."""
    built = systems.micro()
    return [row for lease in LEASES for row in asyncio.run(_lease(built, lease))]


async def _boots(built: DemoSystem, kernel: str) -> list[Row]:
    """Boot over each protocol by turns, so that a slow hour of this machine affects all of them."""
    sides: dict[NfsVersion, list[tuple[float, int, Calls]]] = {"3": [], "4.2": []}
    for _ in range(BOOTS):
        for version, done in sides.items():
            async with _machine(built, version) as (machine, _):
                boot = await machine.reach("multi-user", 900)
                calls = await machine.server.nfs.backend.calls()
                seconds = machine.stages()[-1].seconds
                done.append((seconds, sum(calls.values()), calls))
                _say(f"{kernel}, NFS {version}: {seconds:.1f} s, {sum(calls.values())} calls")
                await machine.power_off(boot)
    rows = []
    for version, done in sides.items():
        suffix = ".v4" if version == "4.2" else ""
        times, counts = sorted(each[0] for each in done), sorted(each[1] for each in done)
        detail = {"calls": {"/".join(map(str, key)): n for key, n in done[-1][2].most_common()}}
        middle = len(done) // 2
        rows.append(Row(f"protocol.boot_calls.linux{kernel}{suffix}", counts[middle], "RPC",
                        "lower", None, "", (counts[0], counts[-1]), detail))  # fmt: skip
        rows.append(Row(f"protocol.boot_seconds.linux{kernel}{suffix}", round(times[middle], 1),
                        "s", "lower", None, "", (round(times[0], 1), round(times[-1], 1)), {}))  # fmt: skip
    return rows


async def _lease(built: DemoSystem, lease: int) -> list[Row]:
    """Measure how long a machine waits for a server that came back, and what it sends when idle."""
    async with _machine(built, "4.2", lease) as (machine, spec):
        boot = await machine.reach("multi-user", 900)
        stall = await _outage(machine, spec, boot)
        calls = machine.server.nfs.backend.calls
        read = (await calls()).total()
        await asyncio.sleep(IDLE)
        idle = (await calls()).total()
        _say(f"lease {lease} s: {stall:.1f} s of stall; {idle - read} calls in {IDLE:.0f} s")
        await machine.power_off(boot)

    def row(name: str, value: float, unit: str, **detail: object) -> Row:
        spread = (value, value)
        return Row(f"protocol.{name}.lease{lease}", value, unit, "lower", None, "", spread, detail)

    return [
        row("stall", round(stall, 1), "s", outage_seconds=OUTAGE),
        row("idle_calls", idle - read, "RPC", seconds=IDLE),
    ]


async def _outage(machine: Trial, spec: TrialSpec, boot: Boot) -> float:
    """Return the seconds from the server's return until the machine, which wants to read, calls."""
    config, nfs = machine.service.config.nfs, machine.server.nfs
    await nfs.stop()
    reading = asyncio.create_task(verify(spec, machine, boot, _say))
    await asyncio.sleep(OUTAGE)
    before = (await nfs.backend.calls()).total()
    await nfs.start(config.listen, config.port)
    back = time.monotonic()
    while (await nfs.backend.calls()).total() == before:
        await asyncio.sleep(0.1)
    stall = time.monotonic() - back
    await reading
    return stall


@asynccontextmanager
async def _machine(
    built: DemoSystem, version: NfsVersion, lease: int = LEASE_SECONDS
) -> AsyncIterator[tuple[Trial, TrialSpec]]:
    with TemporaryDirectory(prefix="storeboot-bench-") as directory:
        spec = TrialSpec(
            store=built.store, system=built.toplevel, directory=Path(directory),
            nfs_version=version, least_files=built.least_files, has_nix=built.has_nix,
            nfs_lease=lease, mode="plain",
        )  # fmt: skip
        async with started(spec) as machine:
            yield machine, spec


def _say(text: str) -> None:
    print(text, file=sys.stderr, flush=True)
