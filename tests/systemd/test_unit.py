"""The shipped units under systemd, installed as the documentation says."""

from __future__ import annotations

import re
import stat
from collections.abc import Iterator
from pathlib import Path

import pytest

from network.lab import Namespace, attached, bridged, needs_root
from systemd.installed import (
    ADDRESS,
    GUIDE,
    MAC,
    SERVICE,
    Installed,
    add_system,
    commands,
    configure,
    follow,
    installed,
)
from systemd.machine import booted, processes

pytestmark = [needs_root, pytest.mark.timeout(180)]
UNITS = ("storeboot-nfs.socket", "storeboot-http.socket", SERVICE)
MAX_EXPOSURE = 1.5  # of 10, as `systemd-analyze security` counts; a service without a word has 9.6


@pytest.fixture(scope="module")
def service() -> Iterator[Installed]:
    with bridged(f"{ADDRESS}/24") as network, installed(network) as made:
        yield made


@pytest.fixture
def client(service: Installed) -> Iterator[Namespace]:
    with attached(service.machine.network, address="10.77.0.50/24") as made:
        yield made


def test_all_its_processes_run_as_a_user_without_rights(service: Installed) -> None:
    owner = service.machine.run("id", "-u", "storeboot").strip()
    pids = service.machine.pids(SERVICE)
    assert len([line for line in pids.values() if "nfs.worker_main" in line]) >= 1
    for pid in pids:
        status = processes(pid)
        assert status["Uid"].split() == [owner] * 4
        for name in ("CapEff", "CapPrm", "CapInh", "CapBnd", "CapAmb"):
            assert int(status[name], 16) == 0, name
        assert (status["NoNewPrivs"], status["Seccomp"], status["Umask"]) == ("1", "2", "0027")
    assert owner != "0"


def test_what_it_may_reach_is_little(service: Installed) -> None:
    table = service.machine.run("systemd-analyze", "security", "--no-pager", SERVICE)
    found = re.search(r"Overall exposure level for \S+: ([0-9.]+)", table)
    assert found is not None
    assert float(found[1]) <= MAX_EXPOSURE, table


def test_nobody_else_may_look_into_its_state(service: Installed) -> None:
    state = service.machine.root / "var/lib/storeboot"
    owner = int(service.machine.run("id", "-u", "storeboot"))
    assert stat.S_IMODE(state.stat().st_mode) == 0o750
    made = [path for path in state.rglob("*") if not path.is_symlink()]
    assert {"server.key", "storeboot.sqlite"} <= {path.name for path in made}
    for path in (state, *made):
        assert path.stat().st_uid == owner, path
    assert stat.S_IMODE((state / "server.key").stat().st_mode) == 0o600
    with pytest.raises(Exception, match="Permission denied"):
        service.machine.run("runuser", "-u", "nobody", "--", "ls", "/var/lib/storeboot")


def test_what_the_service_writes_is_not_for_others(service: Installed) -> None:
    machine = service.machine
    machine.run("systemctl", "stop", SERVICE)
    state = machine.root / "var/lib/storeboot"
    machine.run("mv", "/var/lib/storeboot", "/var/lib/before")
    try:
        machine.run("systemctl", "start", SERVICE)
        made = [path for path in state.rglob("*") if not path.is_symlink()]
        assert made
        for path in made:
            mode = stat.S_IMODE(path.stat().st_mode)
            assert mode & ~(0o2750 if path.is_dir() else 0o640) == 0, (path, oct(mode))
    finally:
        machine.run("systemctl", "stop", SERVICE)
        machine.shell("rm -rf /var/lib/storeboot; mv /var/lib/before /var/lib/storeboot")
        machine.run("systemctl", "start", SERVICE)


def test_a_boot_s_requests_are_answered(service: Installed) -> None:
    script = service.fetch(f"/boot?mac={MAC}")
    assert script.startswith("#!ipxe")
    assert f"init={service.system}/init" in script
    for name in ("kernel", "initrd"):
        url = re.search(rf"http://{ADDRESS}:8080(/views/[0-9a-f]+/{name}\S*)", script)
        assert url is not None
        assert service.machine.run("sh", "-c", f"busybox wget -q -O - 'http://{ADDRESS}:8080{url[1]}'"
                                   " | wc -c").strip() != "0"  # fmt: skip


def test_a_reload_takes_the_file_over(service: Installed) -> None:
    machine = service.machine
    before = machine.status_pid(SERVICE)
    file = machine.root / "etc/storeboot/storeboot.toml"
    text = file.read_text()
    file.write_text(f'{text}\n[hosts.lab9]\nmac = ["52:54:00:00:00:09"]\n')
    machine.run("systemctl", "reload", SERVICE)
    machine.until(lambda: "lab9" in service.storeboot("status"), 20)
    machine.until(lambda: "reload.done" in machine.journal(SERVICE), 20)
    file.write_text(text)
    machine.run("systemctl", "reload", SERVICE)
    assert machine.status_pid(SERVICE) == before
    assert machine.status(SERVICE, "NRestarts") == "0"


def test_nix_may_collect_and_the_server_may_not_lose(service: Installed) -> None:
    """Roots are made through the daemon, by a user who may not write to /nix."""
    service.machine.run("nix-collect-garbage", "-d")
    assert (service.machine.root / service.system.text[1:]).is_dir()
    assert service.storeboot("gc", "--keep", "0")


def test_a_slow_start_is_waited_for_and_an_ended_server_started_again(service: Installed) -> None:
    assert service.machine.status(SERVICE, "Restart") == "always"
    assert service.machine.status(SERVICE, "StartLimitIntervalUSec") == "0"
    assert service.machine.status("storeboot-nfs.socket", "TriggerLimitIntervalUSec") == "0"


def test_the_units_have_no_fault(service: Installed) -> None:
    units = sorted(Path(__file__).parents[2].glob("systemd/system/*"))
    assert len(units) == 5
    names = [f"/etc/systemd/system/{unit.name}" for unit in units]
    assert service.machine.run("systemd-analyze", "verify", "--man=no", *names) == ""


OWN_STORE = """
[store]
root = "/srv/storeboot"
"""


def test_a_store_of_the_server_s_own_needs_no_nix_daemon() -> None:
    """As the guide has it: an option, a directory and a line for the unit."""
    with bridged(f"{ADDRESS}/24") as network, booted(network) as machine:
        machine.shell("groupadd --system nix-users")
        configure(machine, OWN_STORE)
        follow(machine, "1. Programs", "2. Users and units", "3. Configuration",
               "Give the server a store of its own")  # fmt: skip
        (line,) = re.findall(r"^ReadWritePaths=/srv/storeboot$", GUIDE.read_text(), re.MULTILINE)
        drop_in = machine.root / "etc/systemd/system/storeboot.service.d"
        drop_in.mkdir()
        (drop_in / "override.conf").write_text(f"[Service]\n{line}\n")
        system = add_system(machine, "/srv/storeboot")
        machine.shell("systemctl daemon-reload\n" + "\n".join(
            line for line in commands("4. Start") if line.startswith("systemctl")
            and "dnsmasq" not in line))  # fmt: skip
        server = Installed(machine, system)
        server.storeboot("deploy", "lab1", system.text)
        assert f"init={system}/init" in server.fetch(f"/boot?mac={MAC}")
        # What the server itself asks of Nix: a declared system is rooted at the reload.
        file = machine.root / "etc/storeboot/storeboot.toml"
        file.write_text(file.read_text() + f'[hosts.lab2]\nmac = ["52:54:00:00:00:02"]\n'
                        f'system = "{system}"\n')  # fmt: skip
        machine.run("systemctl", "restart", SERVICE)
        assert f"init={system}/init" in server.fetch("/boot?mac=52:54:00:00:00:02")


def test_a_server_that_ran_as_root_goes_on_as_a_user() -> None:
    with bridged(f"{ADDRESS}/24") as network, installed(network) as before:
        machine = before.machine
        key = (machine.root / "var/lib/storeboot/server.key").read_bytes()
        machine.run("systemctl", "stop", *UNITS)
        machine.run("chown", "-R", "root:root", "/var/lib/storeboot")
        follow(machine, "Migrate a server that ran as root")
        machine.run("systemctl", "start", *UNITS)
        assert f"init={before.system}/init" in before.fetch(f"/boot?mac={MAC}")
        assert (machine.root / "var/lib/storeboot/server.key").read_bytes() == key
