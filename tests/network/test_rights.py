"""`storeboot serve` with no more rights than it needs."""

from __future__ import annotations

import os
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from integration.stores import add, toplevel_tree
from network.lab import attached, bridged, needs_root
from network.serving import Served, What, settings
from storeboot.config import DhcpSection, NetworkSection
from storeboot.dhcp.dnsmasq import Places, configuration
from storeboot.nix.store import Store

pytestmark = [needs_root, pytest.mark.timeout(120)]
NOBODY = 65534
NEEDED = "+net_bind_service,+net_admin,+net_raw"


@pytest.fixture
def place() -> Iterator[Path]:
    """Where a user without rights may be: pytest's own directories are root's."""
    directory = Path(tempfile.mkdtemp(prefix="storeboot-test-"))
    os.chown(directory, NOBODY, NOBODY)
    yield directory
    shutil.rmtree(directory)


def test_three_capabilities_are_enough_for_dnsmasq(place: Path) -> None:
    (place / "hosts").touch()
    (place / "tftp").mkdir()
    places = Places(place / "tftp", place / "hosts", place / "leases")
    lab = NetworkSection(interface="br0", address="10.77.0.1/24", range=("10.77.0.5", "10.77.0.9"))
    file = place / "conf"
    section = DhcpSection(mode="full")
    file.write_text(configuration(section, {"lab": lab}, ["bios.0"], places, 8080))
    argv = ["setpriv", f"--reuid={NOBODY}", f"--regid={NOBODY}", "--clear-groups",
            f"--inh-caps={NEEDED}", f"--ambient-caps={NEEDED}",
            "dnsmasq", f"--conf-file={file}"]  # fmt: skip
    with (
        bridged("10.77.0.1/24") as server,
        attached(server) as client,
        subprocess.Popen(server.argv(*argv), stderr=subprocess.PIPE, text=True) as running,
    ):
        assert running.stderr is not None
        while "started" not in (line := running.stderr.readline()):
            assert line, "it has ended"
        options = {60: b"PXEClient:Arch:00000".hex(), 93: "0000"}
        assert client.ask("eth0", options=options)["file"] == "bios.0"
        assert (place / "leases").stat().st_uid == NOBODY
        running.terminate()


def test_what_is_missing_is_said(tmp_path: Path) -> None:
    store = Store(tmp_path / "root")
    system = add(store, toplevel_tree(tmp_path))
    toml = settings(tmp_path, What(store.root, system.text), mode="full")
    with bridged("10.77.0.1/24") as server:
        argv = server.argv("setpriv", "--bounding-set=-all", *Served.argv(toml))
        done = subprocess.run(argv, check=False, capture_output=True, text=True)
    assert done.returncode == 1
    assert "error: may not use UDP port 69 on br0" in done.stderr
    assert "CAP_NET_BIND_SERVICE, CAP_NET_ADMIN and CAP_NET_RAW" in done.stderr
