"""A machine on which storeboot was installed by the commands of the documentation."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from integration.stores import toplevel_tree
from network.lab import Namespace
from storeboot.nix.store import StorePath
from systemd.machine import ROOT, Machine, booted

GUIDE = ROOT / "docs" / "how-to" / "install.md"
SERVICE = "storeboot.service"
DNSMASQ = "storeboot-dnsmasq.service"
MAC = "52:54:00:00:00:01"
ADDRESS = "10.77.0.1"
# What needs Debian's archive: the programs are there, and so is /opt/storeboot.
_FETCHED = ("apt-get ", "python3 -m venv", "/opt/storeboot/bin/pip")

# As Debian's package nix-setup-systemd has it.
_NIX_SOCKET = """
[Socket]
ListenStream=/nix/var/nix/daemon-socket/socket
[Install]
WantedBy=sockets.target
"""
_NIX_DAEMON = """
[Service]
ExecStart=@/usr/bin/nix-daemon nix-daemon --daemon
KillMode=process
"""
_NIX_USERS = """
groupadd --force --system nix-users
groupadd --force --system nixbld
useradd --system --gid nixbld --groups nixbld --no-user-group nixbld1
install -d -g nix-users -m 770 /nix/var/nix/daemon-socket
install -d -m 1777 /nix/var/nix/gcroots/per-user /nix/var/nix/profiles/per-user
systemctl daemon-reload
systemctl start nix-daemon.socket
"""


def commands(section: str) -> list[str]:
    """The commands of a section of the guide, but for those that fetch packages."""
    _, heading, rest = GUIDE.read_text().partition(f"\n## {section}")
    assert heading, section
    blocks = re.findall(r"^```sh\n(.*?)^```", rest.partition("\n## ")[0], re.M | re.S)
    lines = "".join(blocks).splitlines()
    return [line for line in lines if not line.startswith(_FETCHED)]


@dataclass(frozen=True, slots=True)
class Installed:
    """The server as a unit, with one system deployed to lab1."""

    machine: Machine
    system: StorePath

    def storeboot(self, *words: str | Path) -> str:
        """A command as the guide has it run."""
        return self.machine.run("runuser", "-u", "storeboot", "--", "storeboot", *words)

    def fetch(self, path: str) -> str:
        url = f"http://{ADDRESS}:8080{path}"
        return self.machine.run("busybox", "wget", "-q", "-O", "-", url)


def add_nix(machine: Machine) -> None:
    """A store at /nix/store with its daemon."""
    (machine.root / "etc/nix").mkdir(exist_ok=True)
    (machine.root / "etc/nix/nix.conf").write_text("sandbox = false\n")
    units = machine.root / "etc/systemd/system"
    (units / "nix-daemon.socket").write_text(_NIX_SOCKET)
    (units / "nix-daemon.service").write_text(_NIX_DAEMON)
    machine.shell(_NIX_USERS)


def add_system(machine: Machine, root: str = "") -> StorePath:
    """A small system in the machine's own store, or in one that is the server's."""
    place = machine.root / "srv" / "made"
    place.mkdir(parents=True)
    tree = toplevel_tree(place)
    (tree / "large").write_bytes(bytes(range(256)) * 4096)
    inside = f"/srv/made/{tree.name}"
    if not root:
        return StorePath.from_arg(machine.run("nix-store", "--add", inside).strip())
    argv = ["runuser", "-u", "storeboot", "--", "nix-store", "--store", root, "--add", inside]
    return StorePath.from_arg(machine.run(*argv).strip())


def configure(machine: Machine, more: str = "") -> None:
    """Write the file that the guide installs."""
    text = f'[server]\naddress = "{ADDRESS}"\n[hosts.lab1]\nmac = ["{MAC}"]\n{more}'
    (machine.root / "root/storeboot.toml").write_text(text)


def follow(machine: Machine, *sections: str) -> None:
    """Type what these sections of the guide say, in a checkout with a storeboot.toml."""
    lines = [line for section in sections for line in commands(section)]
    assert lines
    place = "ln -sfn /opt/checkout/systemd systemd; ln -sf /root/storeboot.toml ."
    machine.shell("\n".join(["mkdir -p /root/checkout", "cd /root/checkout", place, *lines]))


@contextmanager
def installed(network: Namespace, more: str = "", *, dhcp: bool = False) -> Iterator[Installed]:
    """The server is up, and has a system for lab1. `more` goes into the configuration file."""
    with booted(network) as machine:
        add_nix(machine)
        configure(machine, more)
        follow(machine, "1. Programs", "2. Users and units", "3. Configuration")
        start = commands("4. Start")
        system = add_system(machine)
        machine.run("ln", "-s", system.text, "/root/checkout/result")
        units = [line for line in start if line.startswith("systemctl")]
        deploy = [line for line in start if not line.startswith("systemctl")]
        wanted = units if dhcp else [line for line in units if "dnsmasq" not in line]
        machine.shell("\n".join(["cd /root/checkout", *wanted, *deploy]))
        yield Installed(machine, system)
