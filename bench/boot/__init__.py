"""Measures boots of one system on one emulated machine, by every way to give it its store."""

from __future__ import annotations

import asyncio
import statistics
import subprocess
import sys
import time
from collections import defaultdict
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

from bench import systems
from bench.boot import storm as storms
from bench.boot import ways
from bench.boot.machine import Seen, Wire, boot
from bench.boot.ways import NAMES, PACK, PLAIN, Way
from bench.nfs import peers
from bench.rows import Row, ratio, share
from storeboot.config import Config
from storeboot.deploy.inventory import opened
from storeboot.deploy.state import StateDirectory, ViewRecord, make_state_directory
from storeboot.hosts.host import Host
from storeboot.nfs.views import view_id
from storeboot.vm.demo.build import DemoSystem
from storeboot.vm.demo.packages import Suite
from storeboot.vm.trial import TrialSpec, trial_config

RELAYED = peers.GANESHA + 50  # where a machine finds NFS-Ganesha behind a relay
PAIRS = 5
AGAINST = "NFSv4.1 `ro` from NFS-Ganesha 4.3 (over 4.2 every read of Linux 6.12 fails)"
IN_RAM = "the closure as squashfs in the initrd"
KERNELS: dict[Suite, str] = {"trixie": "", "bookworm": ".6_1"}
TIME_TARGETS = {0: 0.40, 1: 0.25, 5: 0.10}


@dataclass(frozen=True, slots=True)
class Bench:
    """What a run of this group has at hand."""

    built: DemoSystem
    updated: DemoSystem  # one package changed
    view: ViewRecord
    directory: Path

    def go(
        self, way: Way, *, wire: Wire | None = None, learn: bool = False,
        updated: bool = False,
    ) -> Seen:  # fmt: skip
        """Boot once; what the server learns is there for the next boot of the same way."""
        built = self.updated if updated else self.built
        directory = self.directory / way.name
        directory.mkdir(exist_ok=True)
        seen = asyncio.run(boot(way, built, directory, wire=wire, learn=learn))
        _say(f"{way.name:10} {seen.rpcs:6} RPCs {seen.nfs_bytes / 1e6:6.1f} MB "
             f"+ {seen.image_bytes / 1e6:5.1f} MB  {seen.seconds:5.1f} s  "
             f"{seen.held / 1e6:6.1f} MB held  rtt {seen.round_trip:.2f} ms")  # fmt: skip
        return seen


def counts() -> list[Row]:
    """Count round trips, bytes and memory of every way with Linux 6.12. Takes about nine minutes."""
    with _bench("trixie") as (bench, seed):
        seen = _count(bench, seed)
        squashfs = ways.squashfs(bench.built.store, bench.view.paths, bench.directory)
        for way in (ways.seed("4.2"), NAMES, squashfs,
                    ways.unpacked(bench.built.store, bench.view.paths, bench.directory)):  # fmt: skip
            seen[way.name] = bench.go(way)
        return [*_rows(seen, ""), *_preparing(bench)]


def times() -> list[Row]:
    """Measure seconds in alternating boots with longer and longer wires; count with Linux 6.1."""
    rows = []
    with _bench("bookworm") as (bench, seed):
        rows += _rows(_count(bench, seed), KERNELS["bookworm"])
    with _bench("trixie") as (bench, seed):
        squashfs = ways.squashfs(bench.built.store, bench.view.paths, bench.directory)
        bench.go(PACK, learn=True)
        for milliseconds, target in TIME_TARGETS.items():
            far = ways.seed("4.1", RELAYED if milliseconds else peers.GANESHA, "/store")
            wire = Wire(milliseconds, ((RELAYED, peers.GANESHA),))
            asked = [far, PACK, *([squashfs] if milliseconds != 1 else [])]
            took: dict[str, list[Seen]] = defaultdict(list)
            for _ in range(PAIRS):
                for way in asked:
                    took[way.name].append(bench.go(way, wire=wire))
            rows += _compare(took, milliseconds, target)
    return rows


def storm() -> list[Row]:
    """Measure boots a minute when machines start together. Takes about five minutes."""
    with _bench("trixie") as (bench, _seed):
        bench.go(PACK, learn=True)
        recordings = {name: bench.directory / f"recording-{name}" for name in ("seed", "pack")}
        for recording in recordings.values():
            recording.mkdir()
        far = ways.seed("4.1", RELAYED, "/store")
        routes = ((RELAYED, peers.GANESHA),)
        bench.go(far, wire=Wire(0, routes, recordings["seed"]))
        bench.go(PACK, wire=Wire(0, routes, recordings["pack"]))
        sides = (
            storms.side("pack", recordings["pack"], peers.OURS),
            storms.side("seed", recordings["seed"], peers.GANESHA, "/store"),
        )
        replay = bench.directory / "replay"
        source = Path(storms.__file__).with_name("replay.c")
        subprocess.run(["cc", "-O2", "-o", replay, source], check=True)
        state = bench.directory / PACK.name / "state"
        with storms.serving(bench.built, state, max(storms.SIZES)):
            return [_storm(sides, count, replay) for count in storms.SIZES]


def _storm(sides: tuple[storms.Side, storms.Side], count: int, replay: Path) -> Row:
    rates: dict[str, list[float]] = defaultdict(list)
    for _ in range(3):
        for way in sides:
            rates[way.name].append(storms.boots_per_minute(way, count, replay))
            _say(f"{count} machines, {way.name}, {way.calls} calls each: "
                 f"{rates[way.name][-1]:.0f} boots a minute")  # fmt: skip
    most = count == max(storms.SIZES)
    name = "storm.boots_per_minute.vs_seed" + ("" if most else f".{count}")
    return ratio(name, rates["pack"], rates["seed"], target=20 if most else None, against=AGAINST,
                 machines=count, unit="boots a minute")  # fmt: skip


def _compare(took: dict[str, list[Seen]], milliseconds: int, target: float) -> list[Row]:
    seconds = {name: [seen.seconds for seen in all_] for name, all_ in took.items()}
    detail = {
        "round_trip_ms": round(statistics.median(seen.round_trip for seen in took["pack"]), 3),
        "unit": "seconds from the mounted store to multi-user",
    }
    rows = [share(f"boot.time.vs_seed.{milliseconds}ms", seconds["pack"], seconds["seed"],
                  target=target, against=AGAINST, **detail)]  # fmt: skip
    if "squashfs" in seconds:
        rows.append(share(f"boot.time.vs_ram.{milliseconds}ms", seconds["pack"],
                          seconds["squashfs"], target=1.05, against=IN_RAM, **detail))  # fmt: skip
    return rows


@contextmanager
def _bench(suite: Suite) -> Iterator[tuple[Bench, Way]]:
    """Provide systems, a directory and NFS-Ganesha, with the seed's way to its export."""
    built, updated = (systems.demo(suite, edition) for edition in (1, 2))
    with TemporaryDirectory(prefix="storeboot-bench-") as place:
        directory = Path(place)
        state = make_state_directory(directory / "view")
        with state.locks.roots():
            view = state.views.add(built.store, built.toplevel)
        with peers.ganesha(built.store.root, directory) as them:
            bench = Bench(built, updated, view, directory)
            yield bench, ways.seed("4.1", them.port, "/store")


def _count(bench: Bench, seed: Way) -> dict[str, Seen]:
    return {
        "seed": bench.go(seed),
        "plain": bench.go(PLAIN),
        "first": bench.go(PACK, learn=True),
        "second": bench.go(PACK),
        "after_update": bench.go(PACK, updated=True),
    }


def _rows(seen: dict[str, Seen], suffix: str) -> list[Row]:
    most = {"second": 90 if suffix else 20, "after_update": None, "first": 2000}
    rows = [
        Row(f"boot.rpcs.{name}{suffix}", each.rpcs, "RPCs", "lower", most.get(name), "",
            (each.rpcs, each.rpcs),
            {"nfs_bytes": each.nfs_bytes, "image_bytes": each.image_bytes, "held": each.held,
             "seconds": round(each.seconds, 1), "memory": each.memory})
        for name, each in seen.items()
    ]  # fmt: skip
    theirs = [float(seen["seed"].bytes)]
    rows.append(share(f"boot.bytes.vs_seed{suffix}", [float(seen["second"].bytes)], theirs,
                      target=0.45, against=AGAINST, unit="bytes"))  # fmt: skip
    if "squashfs" in seen:
        rows.append(share("boot.ram.vs_squashfs", [float(seen["second"].held)],
                          [float(seen["squashfs"].held)], target=0.30, against=IN_RAM,
                          unit="bytes of page cache, tmpfs and image"))  # fmt: skip
    return rows


def _preparing(bench: Bench) -> list[Row]:
    """Return the seconds from a system that is built to one that can be booted."""
    spec = TrialSpec(bench.built.store, bench.built.toplevel, bench.directory / "preparing")
    config = trial_config(spec)
    known = StateDirectory(bench.directory / PACK.name / "state").hot_lists.get(
        view_id([bench.built.toplevel.text]).hex()
    )
    assert known is not None
    new = _seconds(lambda: _prepare(config, bench.built))
    StateDirectory(config.server.state_directory).hot_lists.set(bench.view.view_id, known)
    update = _seconds(lambda: _prepare(config, bench.updated))
    image = bench.directory / "timed.squashfs"
    whole = _seconds(lambda: ways.closure_squashfs(bench.built.store, bench.view.paths, image))
    _say(f"prepare: new {new:.1f} s, update {update:.1f} s, mksquashfs {whole:.1f} s")
    return [share("pack.update.vs_mksquashfs", [update], [whole], target=0.2,
                  against="mksquashfs of the closure as nixpkgs' netboot makes it", new_system=round(new, 2),
                  unit="seconds")]  # fmt: skip


def _prepare(config: Config, built: DemoSystem) -> None:
    with opened(config) as inventory:
        inventory.systems.prepare(built.toplevel, Host(name="bench", mode="pack"))


def _seconds(action: Callable[[], object]) -> float:
    start = time.perf_counter()
    action()
    return time.perf_counter() - start


def _say(text: str) -> None:
    print(text, file=sys.stderr, flush=True)
