"""Mode native, seen from a server whose machines are in networks of their own."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import pytest

from integration.stores import add, toplevel_tree
from network.lab import attached, bridged, needs_root
from network.serving import MAC, Served, What, served, settings
from storeboot.nix.store import Store

pytestmark = [needs_root, pytest.mark.timeout(300)]
MACHINE = Path(__file__).with_name("native_machine.py")
TESTS = MACHINE.parents[1]
MAC2 = "52:54:00:00:00:02"
MORE = f"""mode = "native"
[hosts.lab2]
mac = ["{MAC2}"]
address = ["10.77.0.21"]
system = "SYSTEM"
mode = "native"
[nfs]
alias = true
"""


@contextmanager
def booted(running: Served, mac: str, address: str, then: str) -> Iterator[None]:
    paths = os.pathsep.join([str(TESTS), os.environ.get("PYTHONPATH", "")])
    with attached(running.server, address=f"{address}/24") as machine, subprocess.Popen(
        machine.argv(sys.executable, MACHINE, "10.77.0.1", mac, then),
        stdin=subprocess.PIPE, env={**os.environ, "PYTHONPATH": paths},
    ) as process:  # fmt: skip
        try:
            yield
        finally:
            process.kill()


def test_a_network_that_was_taken_down_is_told_from_a_stage_1_that_waits(tmp_path: Path) -> None:
    tree = toplevel_tree(tmp_path)
    (tree / "initrd").write_bytes(bytes(100_000))
    store = Store(tmp_path / "root")
    system = add(store, tree).text
    more = MORE.replace("SYSTEM", system)
    with ExitStack() as stack:
        server = stack.enter_context(bridged("10.77.0.1/24"))
        toml = settings(tmp_path, What(store.root, system), mode="off", more=more)
        running = stack.enter_context(served(server, toml))
        stack.enter_context(booted(running, MAC, "10.77.0.20", "flush"))
        stack.enter_context(booted(running, MAC2, "10.77.0.21", "wait"))

        def said(host: str) -> dict[str, str]:
            steps = json.loads(running.command("timeline", host, "--json"))
            return {step["stage"]: step["detail"] for step in steps}

        running.until(lambda: "silent" in said("lab1") and "silent" in said("lab2"), 120)
        flushed, waiting = said("lab1")["silent"], said("lab2")["silent"]
    assert "flushBeforeStage2 must be false" in flushed
    assert "its network answers" in waiting
    assert "x-systemd.requires-mounts-for=" in waiting
