"""Measures the Linux client in a virtual machine, against us and NFS-Ganesha over the same tree."""

from __future__ import annotations

import asyncio
import os
import sys
from collections import defaultdict
from contextlib import ExitStack
from pathlib import Path
from tempfile import TemporaryDirectory

from bench import systems
from bench.nfs import peers, tree
from bench.nfs.peers import Peer
from bench.rows import Row, ratio
from storeboot.vm.errand import run_errand
from storeboot.vm.qemu import HOST_ADDRESS
from storeboot.vm.trial import TrialSpec

SCRIPT = Path(__file__).with_name("guest.sh")
ROUNDS = 3
PACKAGES = 5  # store paths that are walked and read
VERSIONS = ("3", "4.1")  # over 4.2 Ganesha fails the READ_PLUS of Linux 6.12
PARTS = ("walk", "small", "large")
AGAINST = "NFS-Ganesha 4.3, FSAL_VFS; Linux 6.12 in QEMU"
Results = dict[tuple[str, str, str], list[float]]


def measure() -> list[Row]:
    """Measure Ganesha's seconds divided by ours: higher is better."""
    with ExitStack() as stack:
        directory = Path(stack.enter_context(TemporaryDirectory(prefix="storeboot-bench-")))
        print("making a store of 100,000 inodes", file=sys.stderr, flush=True)
        view = tree.make(directory)
        us = stack.enter_context(peers.ours(directory, view, len(os.sched_getaffinity(0))))
        them = stack.enter_context(peers.ganesha(directory))
        results = asyncio.run(_ask_the_guest(us, them, directory / "trial"))
    rows = []
    for version in VERSIONS:
        suffix = ".v4" if version != "3" else ""
        for part in PARTS:
            ours, theirs = results[version, "ours", part], results[version, "theirs", part]
            rows.append(ratio(f"nfs.client.{part}.vs_ganesha{suffix}", ours, theirs, target=None,
                              against=AGAINST, inverse=True, unit="seconds"))  # fmt: skip
        counts = results[version, "ours", "rpcs"], results[version, "theirs", "rpcs"]
        rows.append(ratio(f"nfs.client.rpcs.vs_ganesha{suffix}", *counts, target=None,
                          against=AGAINST, inverse=True, unit="calls"))  # fmt: skip
    return rows


async def _ask_the_guest(us: Peer, them: Peer, directory: Path) -> Results:
    variables = {
        "server": HOST_ADDRESS,
        "versions": " ".join(VERSIONS),
        "rounds": " ".join(map(str, range(ROUNDS))),
        "packages": " ".join(tree.package_name(number).decode() for number in range(PACKAGES)),
        "large": tree.large_name().decode(),
        "ours_port": str(us.port), "ours_mount": str(us.mount_port), "ours_path": us.path,
        "theirs_port": str(them.port), "theirs_mount": str(them.mount_port),
        "theirs_path": "/store", "theirs_path3": them.path,
    }  # fmt: skip
    built = systems.micro()
    spec = TrialSpec(store=built.store, system=built.toplevel, directory=directory, has_nix=False,
                    mode="plain")  # fmt: skip
    text = await run_errand(spec, SCRIPT.read_text(), variables, seconds=1800)
    results: Results = defaultdict(list)
    failed = [line for line in text.splitlines() if line.startswith("failed")]
    if failed:
        raise RuntimeError(f"the guest could not do everything: {failed}")
    for line in text.splitlines():
        version, side, part, before, after = line.split()
        results[version, side, part].append(float(after) - float(before))
    return results
