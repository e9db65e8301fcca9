"""Boots once in one way: measures what crosses the wire, the memory it takes, and the time."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path

from bench.boot import ways
from bench.boot.delay import relayed, round_trip
from bench.boot.ways import Way
from storeboot.boot.report import parse_mountstats
from storeboot.config import Config
from storeboot.deploy.state import StateDirectory
from storeboot.nfs.views import view_id
from storeboot.pack.hot import HotList
from storeboot.serve import server
from storeboot.vm import qemu
from storeboot.vm.demo.build import DemoSystem
from storeboot.vm.trial import Trial, TrialSpec, trial_config

_BEHIND = "127.0.0.2"  # where the server listens when there is a relay in front of it


@dataclass(frozen=True, slots=True)
class Wire:
    """What lies between the machine and its server."""

    milliseconds: float = 0  # added to each round trip
    routes: tuple[tuple[int, int], ...] = ()  # more ports, and those that they lead to
    record: Path | None = None  # an existing directory for what is said


@dataclass(frozen=True, slots=True)
class Seen:
    """What a boot was like, up to multi-user."""

    rpcs: int
    nfs_bytes: int  # both ways, RPC headers included
    image_bytes: int  # a pack, or what an initrd has of the closure
    seconds: float  # from the mounted store to multi-user
    memory: dict[str, int]  # /proc/meminfo, bytes
    round_trip: float  # milliseconds, measured

    @property
    def bytes(self) -> int:
        return self.nfs_bytes + self.image_bytes

    @property
    def held(self) -> int:
        """Return the memory that image, page cache and tmpfs take, in bytes."""
        return self.memory["Cached"] + self.memory["Buffers"]


async def boot(
    way: Way, built: DemoSystem, directory: Path, *, wire: Wire | None = None, learn: bool = False
) -> Seen:
    """Boot once, power off hard; return what was seen.

    `learn`: wait until the server knows what this boot has read."""
    spec = TrialSpec(store=built.store, system=built.toplevel, directory=directory, mode=way.mode)
    kvm = await qemu.kvm_works(directory)
    with _between(trial_config(spec), wire or Wire()) as config:
        if way.no_hot:
            _know_nothing(config, built)
        async with server.running(config) as running:
            _change_initrds(running, way)
            rtt = await asyncio.to_thread(round_trip, config.nfs.port)
            machine = qemu.MachineSpec(url=f"{running.service.url}/boot.ipxe", memory=spec.memory)
            power_on = time.time()
            async with qemu.running(machine, directory, kvm=kvm) as started:
                trial = Trial(running, started, power_on)
                begun = await trial.reach("multi-user", 900)
                if learn:
                    await trial.until(
                        lambda: running.service.state.hot_lists.get(begun.view) is not None,
                        120,
                        "hot list",
                    )
                return _seen(trial, way, begun.view, rtt)


@contextmanager
def _between(config: Config, wire: Wire) -> Iterator[Config]:
    """Return the server's configuration; a relay in front of it has the ports that machines use."""
    if not wire.milliseconds and wire.record is None:
        yield config
        return
    routes = {
        ("127.0.0.1", port): (_BEHIND, port) for port in (config.http.port, config.nfs.port)
    } | {("127.0.0.1", here): ("127.0.0.1", there) for here, there in wire.routes}
    http = config.http.model_copy(update={"listen": _BEHIND})
    nfs = config.nfs.model_copy(update={"listen": _BEHIND})
    with relayed(wire.milliseconds, routes, wire.record):
        yield config.model_copy(update={"http": http, "nfs": nfs})


def _know_nothing(config: Config, built: DemoSystem) -> None:
    state = StateDirectory(config.server.state_directory)
    state.hot_lists.set(view_id([built.toplevel.text]).hex(), HotList())


def _change_initrds(running: server.Server, way: Way) -> None:
    """Serve a copy of each initrd with the way's changes behind it, and keep the one that was built."""
    ready = running.service.inventory.systems.ready
    for key, assignment in list(ready.items()):
        data = assignment.initrd.path.read_bytes()
        changed = assignment.initrd.path.with_suffix(".changed")
        # The kernel takes an archive that is not compressed at multiples of four bytes only.
        changed.write_bytes(data + bytes(-len(data) % 4) + ways.extra(way))
        ready[key] = replace(assignment, initrd=replace(assignment.initrd, path=changed, sha256=""))


def _seen(trial: Trial, way: Way, view: str, rtt: float) -> Seen:
    steps = {step.stage: step for step in trial.stages()}
    account = steps["multi-user"].detail
    stats = parse_mountstats(account)
    pack = trial.service.inventory.systems.packs.get(view) if way.mode == "pack" else None
    if pack is not None and "pack" not in steps:
        raise RuntimeError("the machine did not take its pack")
    return Seen(
        rpcs=stats.total,
        nfs_bytes=_wire_bytes(account),
        image_bytes=pack.size if pack is not None else _size(way.archive),
        seconds=steps["multi-user"].at - steps["mount"].at,
        memory=_meminfo(account),
        round_trip=rtt,
    )


def _size(file: Path | None) -> int:
    return file.stat().st_size if file is not None else 0


def _meminfo(account: str) -> dict[str, int]:
    sizes = {}
    for line in account.splitlines():
        name, _, rest = line.partition(":")
        if rest.endswith(" kB"):
            sizes[name] = int(rest.split()[0]) * 1024
    return sizes


def _wire_bytes(account: str) -> int:
    """Return the sums of mountstats' fifth and sixth column: bytes sent and received."""
    total = 0
    inside = False
    for line in account.splitlines():
        words = line.split()
        if line.startswith("device "):
            inside = " mounted on /nix/.ro-store " in line
        elif inside and len(words) >= 6 and words[0][:-1].isupper() and words[0].endswith(":"):
            total += int(words[4]) + int(words[5])
    return total
