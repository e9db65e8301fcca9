"""`storeboot serve` with no more rights than it needs."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from integration.stores import add, toplevel_tree
from network.lab import attached, bridged, needs_root
from network.serving import Served, What, served, settings
from storeboot.nix.store import Store
from storeboot.serve.dnsmasq.runner import find_user
from systemd.machine import processes

pytestmark = [needs_root, pytest.mark.timeout(300)]
NOBODY = 65534
MASK = 1 << 10 | 1 << 12 | 1 << 13  # NET_BIND_SERVICE, NET_ADMIN, NET_RAW (capability.h)
PATIENCE = 10  # seconds more, for a machine that has other things to do


@pytest.fixture
def place() -> Iterator[Path]:
    """Where a user without rights may be: pytest's own directories are root's."""
    directory = Path(tempfile.mkdtemp(prefix="storeboot-test-"))
    os.chown(directory, NOBODY, NOBODY)
    yield directory
    shutil.rmtree(directory)


@pytest.fixture
def small(place: Path) -> What:
    """A store that anybody may read."""
    store = Store(place / "root")
    system = add(store, toplevel_tree(place))
    for path in (place, *place.rglob("*")):
        os.chown(path, NOBODY, NOBODY, follow_symlinks=False)
    return What(store.root, system.text)


def offers_a_program(running: Served) -> bool:
    options = {60: b"PXEClient:Arch:00000".hex(), 93: "0000"}
    with attached(running.server) as client:
        answer = client.ask("eth0", options=options)
        if answer is None or answer["file"] != "bios.0":
            return False
        client.ip(f"addr add {answer['address']}/24 dev eth0")
        return "sha256" in client.ask("eth0", server="10.77.0.1", get="bios.0")


def capabilities(status: dict[str, str]) -> dict[str, int]:
    return {name: int(status[name], 16) for name in ("CapEff", "CapPrm", "CapBnd", "CapAmb")}


def can_read(pid: int, file: Path) -> bool:
    """Whether a process with the user, groups and capabilities of that one could open a file."""
    status = processes(pid)
    uid, gid = status["Uid"].split()[0], status["Gid"].split()[0]
    argv = ["nsenter", "--target", str(pid), "--mount", "setpriv", "--reuid", uid, "--regid", gid,
            "--clear-groups", "--inh-caps=-all", "--bounding-set=-all",
            "head", "-c1", str(file)]  # fmt: skip
    return subprocess.run(argv, check=False, capture_output=True).returncode == 0


def test_of_a_server_that_is_root_dnsmasq_is_another_user(small: What, place: Path) -> None:
    with bridged("10.77.0.1/24") as server:
        toml = settings(place, small, mode="full")
        with served(server, toml) as running:
            pid = running.dnsmasq_pid()
            status = processes(pid)
            user = find_user(None)
            assert user.uid != 0
            assert status["Uid"].split() == [str(user.uid)] * 4
            assert status["Gid"].split() == [str(user.gid)] * 4
            assert status["Groups"] == ""
            assert status["NoNewPrivs"] == "1"
            assert capabilities(status) == dict.fromkeys(capabilities(status), MASK)
            for name in ("server.key", "storeboot.sqlite", "views", "lock"):
                assert not can_read(pid, running.state / name), name
            assert not can_read(pid, Path("/etc/shadow"))
            assert offers_a_program(running)
            leases = running.state / "dhcp" / "kept" / "leases"
            assert leases.stat().st_uid == user.uid
            for path in (running.state / "dhcp").rglob("*"):
                assert not path.stat().st_mode & 0o022 or path.is_symlink(), path
                if path.parent.name != "kept":
                    assert path.stat().st_mode & 0o7 == 0, path


def test_the_user_can_be_named(small: What, place: Path) -> None:
    with bridged("10.77.0.1/24") as server:
        toml = settings(place, small, mode="full")
        toml.write_text(toml.read_text().replace("[dhcp]\n", '[dhcp]\nuser = "daemon"\n'))
        with served(server, toml) as running:
            assert processes(running.dnsmasq_pid())["Uid"].split()[0] == str(
                find_user("daemon").uid
            )
            assert offers_a_program(running)


def test_leases_of_before_are_kept(small: What, place: Path) -> None:
    toml = settings(place, small, mode="full")
    (place / "state" / "dhcp").mkdir(parents=True)
    line = f"{int(time.time()) + 3600} 52:54:00:00:00:42 10.77.0.142 * *\n"
    (place / "state" / "dhcp" / "leases").write_text(line)
    with (
        bridged("10.77.0.1/24") as server,
        served(server, toml),
        attached(server) as client,
    ):
        assert client.ask("eth0", mac="52:54:00:00:00:42")["address"] == "10.77.0.142"


def test_a_stopped_dnsmasq_is_replaced_within_ten_seconds(small: What, place: Path) -> None:
    with bridged("10.77.0.1/24") as server:
        toml = settings(place, small, mode="full")
        with served(server, toml) as running:
            first = running.dnsmasq_pid()
            # It has to have answered once: a server that never saw an answer expects none.
            running.until(lambda: "dhcp.answers" in running.log.read_text(), 20)
            stopped_at = time.monotonic()
            os.kill(first, signal.SIGSTOP)
            running.until(lambda: running.dnsmasq_pid() not in (0, first), 30)
            assert time.monotonic() - stopped_at < 10 + PATIENCE
            assert offers_a_program(running)
            assert not Path(f"/proc/{first}").exists()
            assert "dhcp.silent" in running.log.read_text()


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
