"""What the network offers, as initrd and agent take it: busybox against a foreign DHCP server."""

from __future__ import annotations

import platform
import re
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest

from network.lab import Namespace, attached, bridged, needs_root
from storeboot.initrd.busybox import find_busybox
from unit.initrd_scripts import SCRIPTS

pytestmark = [needs_root, pytest.mark.timeout(120)]
MAC = "52:54:00:00:00:01"
OFFER = (
    "option:router,10.77.0.254",
    "option:dns-server,10.77.0.3,10.77.0.4",
    "option:domain-name,lab.example",
    "option:domain-search,lab.example,example.org",
    "option:ntp-server,10.77.0.5,10.77.0.6",
    "option:mtu,9000",
)
ROUTES = "option:classless-static-route,10.9.0.0/16,10.77.0.253,0.0.0.0/0,10.77.0.252"
BASE = {
    "router": "10.77.0.254", "dns": "10.77.0.3 10.77.0.4", "domain": "lab.example",
    "search": "lab.example example.org", "ntp": "10.77.0.5 10.77.0.6", "mtu": "9000",
}  # fmt: skip


@dataclass(frozen=True, slots=True)
class Initrd:
    """The scripts, with their places below a directory."""

    client: Namespace
    directory: Path

    @property
    def state(self) -> Path:
        return self.directory / "run/storeboot"

    def write(self) -> None:
        scripts, programs = self.directory / "storeboot", self.directory / "bin"
        for made in (scripts, programs, self.state, self.directory / "new/etc"):
            made.mkdir(parents=True)
        subprocess.run([find_busybox(platform.machine()), "--install", "-s", programs], check=True)
        for path in SCRIPTS.iterdir():
            text = path.read_text().replace("/run/", f"{self.directory}/run/")
            text = re.sub(r"(?<!\w)/storeboot/", f"{scripts}/", text)
            text = text.replace("/proc/cmdline", f"{self.directory}/cmdline")
            text = text.replace("#!/bin/sh", f"#!{programs}/sh")
            (scripts / path.name).write_text(text)
            (scripts / path.name).chmod(0o755)
        shutil.copy(scripts / "dhcp.sh", self.state / "dhcp.sh")
        shutil.copy(scripts / "common.sh", self.state / "common.sh")
        (self.state / "fact.mac").write_text(f"{MAC}\n")

    def run(self, command: str) -> str:
        scripts = self.directory / "storeboot"
        files = " ".join(f". {scripts}/{name}.sh;" for name in ("common", "network", "stage2"))
        text = f"PATH={self.directory}/bin CONSOLE='' SYSROOT={self.directory}/new; {files}"
        text += 'fail() { echo "$1"; exit 1; }; ' + command
        return self.client.run(self.directory / "bin/sh", "-c", text).strip()

    def boot(self) -> None:
        self.run("ask_for_address eth0")

    def renew(self) -> None:
        """As the agent does; a client that has an address and begins asks for the same one."""
        self.run(f"ask_dhcp eth0 {self.state}/dhcp.sh -r $(fact ip) -q -n -t 5 -T 3")

    def fact(self, name: str) -> str:
        path = self.state / f"fact.{name}"
        return path.read_text().strip() if path.exists() else ""

    def facts(self, *names: str) -> dict[str, str]:
        return {name: self.fact(name) for name in names}

    def mtu(self) -> int:
        return int(self.client.run("cat", "/sys/class/net/eth0/mtu"))

    def routes(self) -> dict[str, str]:
        """Gateways by destination."""
        found = re.findall(r"^(\S+) via (\S+)", self.client.run("ip", "route"), re.MULTILINE)
        return dict(found)

    def stage2(self) -> dict[str, str]:
        """The files that stage 2 finds, written by the initrd."""
        self.run("write_identity; write_networkd; write_network_manager; write_timesyncd")
        return self.files()

    def files(self) -> dict[str, str]:
        run = self.directory / "run"
        paths = {
            "resolv.conf": self.directory / "new/etc/resolv.conf",
            "networkd": run / "systemd/network/00-storeboot.network",
            "NetworkManager": run / "NetworkManager/conf.d/00-storeboot.conf",
            "timesyncd": run / "systemd/timesyncd.conf.d/00-storeboot.conf",
        }
        return {name: path.read_text() for name, path in paths.items() if path.exists()}


@contextmanager
def offering(server: Namespace, directory: Path, *options: str) -> Iterator[None]:
    """Somebody's dnsmasq, with these options."""
    argv = ["dnsmasq", "--port=0", "--keep-in-foreground", "--interface=br0",
            "--conf-file=/dev/null",
            "--no-ping", "--user=root", "--log-facility=-", "--pid-file=",
            f"--dhcp-leasefile={directory}/leases", "--dhcp-range=10.77.0.50,10.77.0.60,2m",
            *(f"--dhcp-option={option}" for option in options)]  # fmt: skip
    with subprocess.Popen(server.argv(*argv), stderr=subprocess.PIPE, text=True) as process:
        assert process.stderr is not None
        while "started" not in process.stderr.readline():
            assert process.poll() is None
        try:
            yield
        finally:
            process.terminate()
            process.communicate()


@dataclass(frozen=True, slots=True)
class Lab:
    server: Namespace
    initrd: Initrd


@pytest.fixture
def lab(tmp_path: Path) -> Iterator[Lab]:
    with bridged("10.77.0.1/24") as server, attached(server) as client:
        client.ip(f"link set eth0 address {MAC}")
        initrd = Initrd(client, tmp_path)
        initrd.write()
        yield Lab(server, initrd)


def test_what_is_offered_is_used_and_handed_on(lab: Lab, tmp_path: Path) -> None:
    initrd = lab.initrd
    with offering(lab.server, tmp_path, *OFFER):
        initrd.boot()
    assert initrd.facts(*BASE) == BASE
    assert initrd.mtu() == 9000
    assert initrd.routes()["default"] == "10.77.0.254"
    found = initrd.stage2()
    assert found["resolv.conf"] == (
        "search lab.example example.org\nnameserver 10.77.0.3\nnameserver 10.77.0.4\n"
    )
    assert "Domains=lab.example example.org\n" in found["networkd"]
    assert "Kind=!*\n" in found["networkd"]
    assert "searches=lab.example,example.org\n" in found["NetworkManager"]
    assert "except:type:macvlan" in found["NetworkManager"]
    assert found["timesyncd"] == "[Time]\nNTP=10.77.0.5 10.77.0.6\n"


def test_routes_count_instead_of_the_router(lab: Lab, tmp_path: Path) -> None:
    with offering(lab.server, tmp_path, *OFFER, ROUTES):
        lab.initrd.boot()
    assert lab.initrd.routes() == {"default": "10.77.0.252", "10.9.0.0/16": "10.77.0.253"}


def test_a_network_that_offers_little_is_enough(lab: Lab, tmp_path: Path) -> None:
    with offering(lab.server, tmp_path, "option:router", "option:dns-server"):
        lab.initrd.boot()
    assert lab.initrd.fact("ip").startswith("10.77.0.5")
    assert (lab.initrd.mtu(), lab.initrd.routes()) == (1500, {})
    assert "timesyncd" not in lab.initrd.stage2()


@pytest.mark.parametrize(("mtu", "nic"), [(68, "eth0"), (9000, "small0")])
def test_an_mtu_that_cannot_be_is_not_used(lab: Lab, tmp_path: Path, mtu: int, nic: str) -> None:
    """One too small for what IPv4 asks of hosts, and one that the NIC refuses."""
    client = lab.initrd.client
    client.ip("link add link eth0 name small0 type macvlan mode bridge")
    client.ip("link set small0 up")
    with offering(lab.server, tmp_path, f"option:mtu,{mtu}"):
        lab.initrd.run(f"ask_for_address {nic}")
    assert lab.initrd.fact("ip")
    assert client.run("cat", f"/sys/class/net/{nic}/mtu") == "1500\n"
    assert f"MTU of {mtu} is not used" in (lab.initrd.state / "log").read_text()


def test_a_renewal_brings_what_has_changed_and_takes_nothing_away(lab: Lab, tmp_path: Path) -> None:
    initrd = lab.initrd
    with offering(lab.server, tmp_path, *OFFER):
        initrd.boot()
    address = initrd.fact("ip")
    changed = ("option:mtu,4000", "option:ntp-server,10.77.0.7", "option:dns-server,10.77.0.8",
               "option:classless-static-route,10.8.0.0/16,10.77.0.253",
               "option:router")  # fmt: skip
    with offering(lab.server, tmp_path, *changed):
        initrd.renew()
    expected = BASE | {"mtu": "4000", "ntp": "10.77.0.7", "dns": "10.77.0.8"}
    assert initrd.facts("ip", *BASE) == expected | {"ip": address}
    assert initrd.mtu() == 4000
    assert initrd.routes() == {"default": "10.77.0.254", "10.8.0.0/16": "10.77.0.253"}


def test_kexec_keeps_all_of_it(lab: Lab, tmp_path: Path) -> None:
    initrd = lab.initrd
    with offering(lab.server, tmp_path, *OFFER, ROUTES):
        initrd.boot()
    names = ("ip", "prefix", "routes", *BASE)
    before, routes = initrd.facts(*names), initrd.routes()
    agent = (SCRIPTS / "agent.sh").read_text()
    body = re.search(r"^lease_param\(\) \{\n.*?^\}$", agent, re.MULTILINE | re.DOTALL)
    assert body is not None
    line = initrd.run(f"{body[0]}\nlease_param")
    for path in initrd.state.glob("fact.*"):
        path.unlink()
    initrd.client.ip("addr flush dev eth0")
    initrd.client.ip("link set eth0 mtu 1500")
    (tmp_path / "cmdline").write_text(f"quiet {line} panic=30\n")
    initrd.run("keep_address eth0")
    assert initrd.facts(*names) == before
    assert (initrd.mtu(), initrd.routes()) == (9000, routes)


def test_an_agent_beside_network_manager_takes_the_lease_over(lab: Lab, tmp_path: Path) -> None:
    """In mode native stage 1 has set the NIC up, and nobody else would renew."""
    initrd, nic = lab.initrd, tmp_path / "net/eth0"
    nic.mkdir(parents=True)
    for name, value in {"address": MAC, "ifindex": "2", "device": ""}.items():
        (nic / name).write_text(f"{value}\n")
    for path in (tmp_path / "storeboot").iterdir():
        path.write_text(path.read_text().replace("/sys/class/net", str(nic.parent)))
    for path in initrd.state.iterdir():
        path.unlink()
    initrd.state.rmdir()
    initrd.client.ip("addr add 10.77.0.55/24 dev eth0")
    words = ["storeboot.url=http://10.77.0.1:8080", "storeboot.host=lab1", "storeboot.view=v",
             "init=/nix/store/x/init", f"BOOTIF=01-{MAC.replace(':', '-')}"]  # fmt: skip
    (tmp_path / "cmdline").write_text(" ".join(words) + "\n")
    scripts = tmp_path / "storeboot"
    with offering(lab.server, tmp_path, *OFFER):
        initrd.client.run(tmp_path / "bin/sh", scripts / "native.sh", "prepare",
                          find_busybox(platform.machine()), scripts, "agent")  # fmt: skip
    assert initrd.facts("ip", "ifindex", "lease_owner", *BASE) == {
        "ip": "10.77.0.55", "ifindex": "2", "lease_owner": "agent", **BASE,
    }  # fmt: skip
    found = initrd.files()
    assert f"match-device=mac:{MAC}" in found["NetworkManager"]
    assert "servers=10.77.0.3,10.77.0.4\n" in found["NetworkManager"]
    assert "NTP=10.77.0.5" in found["timesyncd"]
