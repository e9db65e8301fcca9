"""Measures NFS requests and bytes a second, CPU and memory, against NFS-Ganesha in the same run."""

from __future__ import annotations

import json
import os
import struct
import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

from bench.nfs import peers, tree
from bench.nfs.client import V3, V4
from bench.nfs.peers import Peer
from bench.rows import Row, ratio

PAIRS = 5
SECONDS = 2.0
METADATA = {"1x1": (1, 1), "4x1": (4, 1), "16x1": (16, 1), "8x16": (8, 16)}
ONE_CORE = "1x1"  # also measured on one core, without the time to wake another one
TARGETS = {"1x1": 1.0, "4x1": 1.4, "16x1": 1.6, "8x16": 8.0}
READ_4K, READ_1M = 2.5, {"3": 1.1}  # the second in NFSv3 only
FILES = 300  # that the metadata questions are about
CLIENTS = 100
AGAINST = "NFS-Ganesha 4.3, FSAL_VFS"


@dataclass(frozen=True, slots=True)
class Played:
    """The results of one load."""

    rate: float  # replies a second
    megabytes: float  # a second
    cpu: float  # seconds of the server, a reply


@dataclass(frozen=True, slots=True)
class Questions:
    """Calls for one server in one protocol version."""

    client: V3 | V4
    metadata: list[bytes]
    read4k: list[bytes]
    read1m: list[bytes]


class Load:
    """The load generator, compiled for this run."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory
        self.program = directory / "load"
        source = Path(__file__).with_name("load.c")
        subprocess.run(["cc", "-O2", "-o", self.program, source], check=True)

    def play(
        self, peer: Peer, client: V3 | V4, calls: Sequence[bytes], connections: int,
        outstanding: int, seconds: float = SECONDS,
    ) -> Played:  # fmt: skip
        """Play a load; return its results. A wrong answer ends the measurement."""
        file, sessions = self._directory / "calls", self._directory / "sessions"
        framed = b"".join(struct.pack(">I", len(each)) + each for each in calls)
        file.write_bytes(struct.pack(">II", len(calls), client.sequence_offset) + framed)
        sessions.write_bytes(client.sessions(connections))
        argv: list[str | Path] = [self.program, "play", "127.0.0.1", str(peer.port), str(connections),
                str(outstanding), str(seconds), file]  # fmt: skip
        if client.sequence_offset:
            argv.append(sessions)
        before = peer.cpu_seconds()
        done = subprocess.run(argv, check=True, stdout=subprocess.PIPE, text=True)
        words = json.loads(done.stdout)
        cpu = (peer.cpu_seconds() - before) / words["replies"]
        seconds = words["seconds"]
        return Played(words["replies"] / seconds, words["bytes"] / seconds / 1e6, cpu)


def measure() -> list[Row]:
    """Measure all rows of the group. Takes about five minutes."""
    rows: list[Row] = []
    with ExitStack() as stack:
        directory = Path(stack.enter_context(TemporaryDirectory(prefix="storeboot-bench-")))
        _say("making a store of 100,000 inodes")
        view = tree.make(directory)
        load = Load(directory)
        rows.append(_memory("nfs.rss_mb", 200, directory, view, load, tree.PATHS))
        us = stack.enter_context(peers.ours(directory, view, len(_cores())))
        them = stack.enter_context(peers.ganesha(directory))
        for version, suffix in (("3", ""), ("4.2", ".v4")):
            rows += _against(load, us, them, version, suffix)
    return rows


def memory() -> list[Row]:
    """Measure resident memory with the inodes of one closure and of five. Takes three minutes."""
    rows: list[Row] = []
    for name, target, paths in (("rss_mb", 200, tree.PATHS), ("rss_500k_mb", 220, 5 * tree.PATHS)):
        with TemporaryDirectory(prefix="storeboot-bench-") as made:
            directory = Path(made)
            _say(f"making a store of {paths * 250:,} inodes")
            view = tree.make(directory, paths)
            load = Load(directory)
            rows.append(_memory(f"nfs.{name}", target, directory, view, load, paths))
    return rows


def _against(load: Load, us: Peer, them: Peer, version: str, suffix: str) -> list[Row]:
    ours, theirs = _questions(us, version), _questions(them, version)
    rows = []
    for name, (connections, outstanding) in METADATA.items():
        a, b = _pairs(load, (us, ours.client, ours.metadata), (them, theirs.client, theirs.metadata),
                      connections, outstanding)  # fmt: skip
        rows.append(ratio(f"nfs.metadata.{name}.vs_ganesha{suffix}", _rates(a), _rates(b),
                          target=TARGETS[name], against=AGAINST, unit="requests/s",
                          null_server=_null(load, ours.client, ours.metadata, connections,
                                            outstanding, 144)))  # fmt: skip
        if name == ONE_CORE:
            with one_core(us, them):
                a, b = _pairs(load, (us, ours.client, ours.metadata),
                              (them, theirs.client, theirs.metadata), connections, outstanding)  # fmt: skip
            rows.append(ratio(f"nfs.metadata.{name}.one_core.vs_ganesha{suffix}", _rates(a),
                              _rates(b), target=TARGETS[name], against=AGAINST, unit="requests/s"))  # fmt: skip
        if name == "16x1":
            rows.append(ratio(f"nfs.cpu_per_100k.vs_ganesha{suffix}",
                              [each.cpu * 1e5 for each in a], [each.cpu * 1e5 for each in b],
                              target=None, against=AGAINST, inverse=True, unit="CPU seconds"))  # fmt: skip
    a, b = _pairs(load, (us, ours.client, ours.read4k), (them, theirs.client, theirs.read4k), 4, 4)
    rows.append(ratio(f"nfs.read4k.vs_ganesha{suffix}", _rates(a), _rates(b), target=READ_4K,
                      against=AGAINST, unit="requests/s",
                      null_server=_null(load, ours.client, ours.read4k, 4, 4, 4224)))  # fmt: skip
    a, b = _pairs(load, (us, ours.client, ours.read1m), (them, theirs.client, theirs.read1m), 4, 2)
    rows.append(ratio(f"nfs.read1m.vs_ganesha{suffix}", _rates(a), _rates(b),
                      target=READ_1M.get(version), against=AGAINST, unit="requests/s",
                      megabytes=[round(p.megabytes) for p in a],
                      null_server=_null(load, ours.client, ours.read1m, 4, 2, (1 << 20) + 128)))  # fmt: skip
    rows.append(ratio(f"nfs.cpu_per_gb.vs_ganesha{suffix}",
                      [each.cpu * 1e9 / (1 << 20) for each in a],
                      [each.cpu * 1e9 / (1 << 20) for each in b],
                      target=None, against=AGAINST, inverse=True, unit="CPU seconds"))  # fmt: skip
    return rows


Side = tuple[Peer, V3 | V4, list[bytes]]


def _pairs(
    load: Load, us: Side, them: Side, connections: int, outstanding: int
) -> tuple[list[Played], list[Played]]:
    """Measure both sides by turns; a first measurement of each, to warm it up, does not count."""
    sides: tuple[list[Played], list[Played]] = ([], [])
    for peer, client, calls in (us, them):
        load.play(peer, client, calls, connections, outstanding, 0.5)
    for _ in range(PAIRS):
        for done, (peer, client, calls) in zip(sides, (us, them), strict=True):
            done.append(load.play(peer, client, calls, connections, outstanding))
    _say(f"{connections}x{outstanding}: {sides[0][-1].rate:.0f} against {sides[1][-1].rate:.0f}")
    return sides


def _null(
    load: Load, client: V3 | V4, calls: list[bytes], connections: int, outstanding: int, size: int
) -> float:
    """Return the requests a second that the generator reaches when the server does nothing."""
    with peers.null(load.program, size) as peer:
        return round(load.play(peer, client, calls, connections, outstanding).rate)


def _rates(played: list[Played]) -> list[float]:
    return [each.rate for each in played]


def _questions(peer: Peer, version: str) -> Questions:
    """Return what machines ask of a closure: LOOKUP, GETATTR, ACCESS and READ."""
    path = peer.path if version == "3" or peer.name == "storeboot" else "/store"
    client = V3(peer.port, peer.mount_port, path) if version == "3" else V4(peer.port, path)
    metadata: list[bytes] = []
    small = []
    for number in range(FILES // tree.FILES):
        package = client.lookup(client.root, tree.package_name(number))
        directory = client.lookup(package, b"share-3")
        for file in range(tree.FILES):
            name = f"file-{file}".encode()
            handle = client.lookup(directory, name)
            metadata += [client.lookup_call(directory, name), client.getattr_call(handle),
                         client.access_call(handle)]  # fmt: skip
            small.append(client.read_call(handle, 0, 4096))
    large = client.lookup(client.root, tree.large_name())
    reads = [client.read_call(large, mib << 20, 1 << 20) for mib in range(tree.LARGE >> 20)]
    return Questions(client, metadata, small, reads)


def _memory(name: str, target: float, directory: Path, view: bytes, load: Load, paths: int) -> Row:
    """Measure memory after 100 clients, all still connected, have asked for all inodes."""
    with peers.ours(directory, view, len(_cores())) as peer:
        client = V3(peer.port, peer.mount_port, peer.path)
        empty = peer.resident()
        calls = []
        for number in range(paths):
            package = client.lookup(client.root, tree.package_name(number))
            for place in range(tree.DIRECTORIES):
                share = client.lookup(package, f"share-{place}".encode())
                calls += [
                    client.lookup_call(share, f"file-{file}".encode()) for file in range(tree.FILES)
                ]
        # One connection a client; each starts at another place, so that every question is asked.
        played = load.play(peer, client, calls, CLIENTS, 4, 30.0)
        value = round(peer.resident() / 1e6, 1)
        detail = {"empty_mb": round(empty / 1e6, 1), "questions": len(calls),
                  "processes": len(peer.processes()), "asked_per_second": round(played.rate)}  # fmt: skip
        _say(f"memory: {value} MB in {detail['processes']} processes")
        return Row(name, value, "MB", "lower", target, "", (value, value), detail)


@contextmanager
def one_core(*measured: Peer) -> Iterator[None]:
    """Keep the servers, and the load that asks them, on one core.

    With one call at a time each side sleeps while the other works. On two cores that measures how
    long the machine takes to wake a core, which a virtual machine can do more slowly than the
    servers answer: a server that does nothing is then no faster (`null_server`).
    """
    cores = _cores()
    try:
        _keep_on({min(cores)}, measured)
        yield
    finally:
        _keep_on(cores, measured)


def _keep_on(cores: set[int], measured: Sequence[Peer]) -> None:
    os.sched_setaffinity(0, cores)
    for peer in measured:
        for pid in peer.processes():
            for task in Path(f"/proc/{pid}/task").iterdir():
                with suppress(ProcessLookupError):  # threads come and go
                    os.sched_setaffinity(int(task.name), cores)


def _cores() -> set[int]:
    return os.sched_getaffinity(0)


def _say(text: str) -> None:
    print(text, file=sys.stderr, flush=True)
