"""Networks that a test makes itself: namespaces, bridges, cables. Nothing leaves them."""

from __future__ import annotations

import itertools
import json
import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

CLIENT = Path(__file__).with_name("client.py")
_numbers = itertools.count()

needs_root = pytest.mark.skipif(os.geteuid() != 0, reason="network namespaces need root")


@dataclass(frozen=True, slots=True)
class Namespace:
    """A network namespace."""

    name: str

    def argv(self, *words: str | Path) -> list[str]:
        return ["ip", "netns", "exec", self.name, *map(str, words)]

    def run(self, *words: str | Path) -> str:
        done = subprocess.run(self.argv(*words), check=True, stdout=subprocess.PIPE, text=True)
        return done.stdout

    def ip(self, text: str) -> None:
        self.run("ip", *text.split())

    def ask(self, interface: str, **said: object) -> Any:
        """What a client on an interface is told: see client.py."""
        words = json.dumps({"interface": interface, **said})
        return json.loads(self.run(sys.executable, CLIENT, words))


@contextmanager
def namespace() -> Iterator[Namespace]:
    made = Namespace(f"sb{os.getpid()}-{next(_numbers)}")
    subprocess.run(["ip", "netns", "add", made.name], check=True)
    try:
        made.ip("link set lo up")
        yield made
    finally:
        subprocess.run(["ip", "netns", "delete", made.name], check=True)


@contextmanager
def bridged(*addresses: str) -> Iterator[Namespace]:
    """A server's namespace with a bridge for each address: br0, br1, …"""
    with namespace() as server:
        for number, address in enumerate(addresses):
            server.ip(f"link add br{number} type bridge forward_delay 0")
            server.ip(f"addr add {address} dev br{number}")
            server.ip(f"link set br{number} up")
        yield server


@contextmanager
def attached(server: Namespace, bridge: str = "br0", address: str = "") -> Iterator[Namespace]:
    """Another machine's namespace, with `eth0` on one of the server's bridges."""
    with ExitStack() as stack:
        other = stack.enter_context(namespace())
        port = f"port{next(_numbers)}"
        server.ip(f"link add {port} type veth peer name eth0 netns {other.name}")
        server.ip(f"link set {port} master {bridge} up")
        if address:
            other.ip(f"addr add {address} dev eth0")
        other.ip("link set eth0 up")
        yield other


def tap(server: Namespace, bridge: str = "br0") -> str:
    """A port of a bridge for a virtual machine."""
    name = f"tap{next(_numbers)}"
    server.ip(f"tuntap add {name} mode tap")
    server.ip(f"link set {name} master {bridge} up")
    return name
