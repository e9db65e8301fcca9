"""dnsmasq as a unit of its own, beside a server that has no rights."""

from __future__ import annotations

import json
import os
import re
import signal
import time
from collections.abc import Iterator

import pytest

from network.lab import Namespace, attached, bridged, needs_root
from systemd.installed import ADDRESS, DNSMASQ, MAC, SERVICE, Installed, installed
from systemd.machine import Machine, processes

pytestmark = [needs_root, pytest.mark.timeout(180)]
MASK = 1 << 10 | 1 << 12 | 1 << 13  # NET_BIND_SERVICE, NET_ADMIN, NET_RAW (capability.h)
MAX_EXPOSURE = 2.0  # of 10
PATIENCE = 10  # seconds more than promised, for a machine that has other things to do
DHCP = """
address = ["10.77.0.20"]
[dhcp]
mode = "full"
[networks.lab]
interface = "br0"
address = "10.77.0.1/24"
range = ["10.77.0.100", "10.77.0.199"]
"""
BIOS = {60: b"PXEClient:Arch:00000".hex(), 93: "0000"}


@pytest.fixture(scope="module")
def service() -> Iterator[Installed]:
    with bridged(f"{ADDRESS}/24") as network, installed(network, DHCP, dhcp=True) as made:
        yield made


@pytest.fixture
def client(service: Installed) -> Iterator[Namespace]:
    with attached(service.machine.network) as made:
        yield made


def dnsmasq_pid(machine: Machine) -> int:
    """As it is seen from here; 0 if it does not run."""
    pids = machine.pids(DNSMASQ)
    return next((pid for pid, words in pids.items() if "--conf-file=" in words), 0)


def warden_pid(machine: Machine) -> int:
    return next((pid for pid, words in machine.pids(DNSMASQ).items() if "--conf" not in words), 0)


def answers(machine: Machine) -> bool:
    """Whether firmware is offered an address and a program, and can fetch it."""
    with attached(machine.network) as client:
        answer = client.ask("eth0", options=BIOS, seconds=4)
        if answer is None or answer["file"] != "bios.0":
            return False
        client.ip(f"addr add {answer['address']}/24 dev eth0")
        return "sha256" in client.ask("eth0", server=ADDRESS, get="bios.0")


def test_firmware_is_answered(service: Installed) -> None:
    assert answers(service.machine)
    assert service.machine.pids(SERVICE).keys().isdisjoint({dnsmasq_pid(service.machine)})


def test_it_has_a_user_and_three_capabilities_of_its_own(service: Installed) -> None:
    owner = service.machine.run("id", "-u", "storeboot-dnsmasq").strip()
    assert owner != service.machine.run("id", "-u", "storeboot").strip()
    pids = service.machine.pids(DNSMASQ)
    assert len(pids) == 2
    for pid in pids:
        status = processes(pid)
        assert status["Uid"].split() == [owner] * 4
        found = {name: int(status[name], 16) for name in ("CapEff", "CapPrm", "CapBnd", "CapAmb")}
        assert found == dict.fromkeys(found, MASK)
        assert (status["NoNewPrivs"], status["Seccomp"]) == ("1", "2")
    for pid in service.machine.pids(SERVICE):
        assert int(processes(pid)["CapBnd"], 16) == 0
    table = service.machine.run("systemd-analyze", "security", "--no-pager", DNSMASQ)
    exposure = re.search(r"Overall exposure level for \S+: ([0-9.]+)", table)
    assert exposure is not None
    assert float(exposure[1]) <= MAX_EXPOSURE, table


@pytest.mark.parametrize("name", ["server.key", "storeboot.sqlite", "views", "dhcp/hosts"])
def test_it_cannot_see_the_server_s_state(service: Installed, name: str) -> None:
    """In its own namespace, by its own name: not even the part that it is shown elsewhere."""
    pid = dnsmasq_pid(service.machine)
    inside = processes(pid)["NSpid"].split()[-1]
    look = ["nsenter", "--target", inside, "--mount", "setpriv", "--reuid=storeboot-dnsmasq",
            "--regid=storeboot-dnsmasq", "--clear-groups", "--inh-caps=-all", "stat"]  # fmt: skip
    with pytest.raises(Exception, match="Permission denied"):
        service.machine.run(*look, f"/var/lib/storeboot/{name}")
    assert "hosts" in service.machine.run(*look, "/run/storeboot-dhcp/hosts")


def test_it_keeps_its_leases_and_the_server_s_files_are_not_for_others(
    service: Installed, client: Namespace
) -> None:
    offer = client.ask("eth0", mac=MAC, options=BIOS)
    request = BIOS | {50: bytes(map(int, offer["address"].split("."))).hex(),
                      54: offer["options"]["54"]}  # fmt: skip
    assert client.ask("eth0", mac=MAC, kind=3, options=request)["kind"] == 5
    root = service.machine.root
    service.machine.until(
        lambda: MAC in (root / "var/lib/storeboot-dnsmasq/leases").read_text(), 10
    )
    service.machine.until(lambda: "address" in service.storeboot("timeline", "lab1"), 20)
    dhcp = root / "var/lib/storeboot/dhcp"
    group = int(service.machine.run("id", "-g", "storeboot-dnsmasq"))
    made = list(dhcp.rglob("*"))
    assert len(made) > 3
    for path in (dhcp, *made):
        assert path.stat().st_gid == group, path
        assert path.stat().st_mode & 0o27 == 0, path


def test_an_added_host_is_told_to_it(service: Installed, client: Namespace) -> None:
    mac = "52:54:00:00:00:02"
    service.storeboot("host", "add", "lab2", "--mac", mac, "--address", "10.77.0.30")

    def has_it() -> bool:
        answer = client.ask("eth0", mac=mac, seconds=4)
        return answer is not None and answer["address"] == "10.77.0.30"

    service.machine.until(has_it, 60)  # it is looked for every five seconds


def replaced(machine: Machine, old: int) -> bool:
    return dnsmasq_pid(machine) not in (0, old)


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGSTOP])
def test_a_dnsmasq_that_is_killed_or_stopped_is_replaced(
    service: Installed, number: signal.Signals
) -> None:
    machine = service.machine
    machine.until(lambda: "dhcp.answers" in machine.journal(SERVICE, 10_000), 30)
    before, server = dnsmasq_pid(machine), machine.main_pid(SERVICE)
    begun = time.monotonic()
    os.kill(before, number)
    machine.until(lambda: replaced(machine, before), 10 + PATIENCE)
    assert time.monotonic() - begun < 10 + PATIENCE
    machine.until(lambda: answers(machine), 30)
    assert machine.main_pid(SERVICE) == server


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGSTOP])
def test_so_is_the_process_that_runs_it(service: Installed, number: signal.Signals) -> None:
    machine = service.machine
    warden, before = warden_pid(machine), dnsmasq_pid(machine)
    server = machine.main_pid(SERVICE)
    os.kill(warden, number)
    machine.until(lambda: replaced(machine, before), 10 + PATIENCE)
    assert warden_pid(machine) not in (0, warden)
    machine.until(lambda: answers(machine), 30)
    assert machine.main_pid(SERVICE) == server


def test_it_ends_with_the_server_and_comes_with_the_next(service: Installed) -> None:
    machine = service.machine
    before = dnsmasq_pid(machine)
    machine.run("systemctl", "stop", SERVICE, "storeboot-nfs.socket", "storeboot-http.socket")
    machine.until(lambda: dnsmasq_pid(machine) == 0, 20)
    machine.run("systemctl", "start", "storeboot-nfs.socket", "storeboot-http.socket", SERVICE)
    machine.until(lambda: replaced(machine, before), 30)
    assert answers(machine)
    state = json.loads((machine.root / "var/lib/storeboot/dhcp/state.json").read_text())
    assert state["starts"] == 1


def test_a_second_dhcp_server_is_an_error_that_says_so(service: Installed) -> None:
    """The unit is the one that may look; what it finds is the server's own message."""
    machine = service.machine
    before = dnsmasq_pid(machine)
    machine.run("systemctl", "stop", SERVICE, "storeboot-nfs.socket", "storeboot-http.socket")
    machine.until(lambda: dnsmasq_pid(machine) == 0, 20)
    machine.shell("dnsmasq --port=0 --conf-file=/dev/null --interface=br0 --user=root"
                  " --dhcp-range=10.77.0.50,10.77.0.60 --pid-file=/run/other.pid"
                  " --dhcp-leasefile=/run/other.leases")  # fmt: skip
    try:
        machine.shell(f"systemctl start --no-block {SERVICE}")
        machine.until(
            lambda: "UDP port 67 on br0 is taken: another DHCP server" in machine.journal(SERVICE),
            30,
        )
    finally:
        machine.shell("kill $(cat /run/other.pid)")
    machine.run("systemctl", "start", "storeboot-nfs.socket", "storeboot-http.socket")
    machine.until(lambda: replaced(machine, before), 40)
    machine.until(lambda: machine.status(SERVICE, "ActiveState") == "active", 30)


def test_without_its_unit_dnsmasq_has_three_capabilities_of_the_server_s(
    service: Installed,
) -> None:
    """By hand, as an ordinary user with capabilities: the others are not for dnsmasq."""
    machine, unit = service.machine, "by-hand.service"
    machine.run("systemctl", "stop", SERVICE, "storeboot-nfs.socket", "storeboot-http.socket")
    machine.until(lambda: dnsmasq_pid(machine) == 0, 20)
    more = "CAP_NET_BIND_SERVICE CAP_NET_ADMIN CAP_NET_RAW CAP_SYS_NICE"
    machine.run("systemd-run", f"--unit={unit}", "-p", "User=storeboot", "-p", "UMask=0027",
                "-p", f"AmbientCapabilities={more}",
                "storeboot", "serve", "--config", "/etc/storeboot/storeboot.toml")  # fmt: skip
    try:
        machine.until(lambda: answers(machine), 40)
        pids = machine.pids(unit)
        pid = next(pid for pid, words in pids.items() if "dnsmasq --conf-file=" in words)
        status = processes(pid)
        assert [int(status[name], 16) for name in ("CapEff", "CapPrm", "CapAmb")] == [MASK] * 3
        assert status["NoNewPrivs"] == "1"
        assert int(processes(machine.main_pid(unit))["CapEff"], 16) == MASK | 1 << 23
        assert (machine.root / "var/lib/storeboot/dhcp/kept/leases").is_file()
    finally:
        machine.run("systemctl", "stop", unit)
        machine.run("systemctl", "start", "storeboot-nfs.socket", "storeboot-http.socket", SERVICE)
