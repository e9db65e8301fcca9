"""`storeboot serve` in a namespace."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from network.lab import Namespace

STOREBOOT = Path(sys.executable).with_name("storeboot")


MAC = "52:54:00:00:00:01"  # of the host lab1


@dataclass(frozen=True, slots=True)
class What:
    """What is served."""

    root: Path  # of the store
    system: str
    ipxe: Mapping[str, Path] = field(default_factory=dict)  # programs of rare firmware
    busyboxes: Mapping[str, Path] = field(default_factory=dict)
    drivers: tuple[str, ...] = ()  # in the initrd; all without it
    kernel_params: tuple[str, ...] = ()


def settings(
    directory: Path,
    what: What,
    *,
    mode: str,
    mac: str = MAC,
    server_address: str = "10.77.0.1",
    networks: Mapping[str, str] | None = None,
    more: str = "",
) -> Path:
    """A configuration file; each network is on the interface that it is named after."""
    sections = "".join(
        f"""
[networks.{interface}]
interface = "{interface}"
address = "{address}"
range = ["{address.rpartition(".")[0]}.100", "{address.rpartition(".")[0]}.199"]
"""
        for interface, address in (networks or {"br0": "10.77.0.1/24"}).items()
    )
    busyboxes = ", ".join(f'{name} = "{file}"' for name, file in what.busyboxes.items())
    programs = "".join(f'{name} = "{file}"\n' for name, file in what.ipxe.items())
    file = directory / "storeboot.toml"
    file.write_text(f"""
[server]
address = "{server_address}"
state_directory = "{directory}/state"
[store]
root = "{what.root}"
[initrd]
busyboxes = {{ {busyboxes} }}
drivers = {list(what.drivers)}
[agent]
heartbeat = 3
[dhcp]
mode = "{mode}"
[dhcp.ipxe]
{programs}
{sections}
[hosts.lab1]
mac = ["{mac}"]
address = ["10.77.0.20"]
system = "{what.system}"
kernel_params = {list(what.kernel_params)}
{more}
""")
    return file


@dataclass(frozen=True, slots=True)
class Served:
    """A running server."""

    server: Namespace
    toml: Path
    process: subprocess.Popen[bytes]

    @staticmethod
    def argv(toml: Path) -> list[str]:
        return [str(STOREBOOT), "serve", "--config", str(toml)]

    @property
    def state(self) -> Path:
        return self.toml.parent / "state"

    @property
    def log(self) -> Path:
        return self.toml.parent / "log"

    def command(self, *words: str) -> str:
        argv = [str(STOREBOOT), *words, "--config", str(self.toml)]
        return subprocess.check_output(argv, text=True)

    def dnsmasq_pid(self) -> int:
        """0 while it does not run."""
        return json.loads((self.state / "dhcp" / "state.json").read_text())["pid"] or 0

    def status_warnings(self) -> str:
        argv = [str(STOREBOOT), "status", "--config", str(self.toml)]
        done = subprocess.run(argv, check=True, capture_output=True, text=True)
        return done.stderr

    def until(self, condition: Callable[[], Any], seconds: float) -> None:
        """It is another process, whose events are not ours: look."""
        deadline = time.monotonic() + seconds
        while not condition():
            assert self.process.poll() is None, self.log.read_text()[-2000:]
            assert time.monotonic() < deadline, self.log.read_text()[-4000:]
            self.wait(0.2)

    def wait(self, seconds: float) -> None:
        time.sleep(seconds)


@contextmanager
def served(server: Namespace, toml: Path, prefix: tuple[str, ...] = ()) -> Iterator[Served]:
    """`prefix` goes before the command."""
    with (toml.parent / "log").open("wb") as log:
        process = subprocess.Popen(server.argv(*prefix, *Served.argv(toml)), stdout=log, stderr=log)
    running = Served(server, toml, process)
    try:
        running.until(lambda: "serve.ready" in running.log.read_text(), 120)
        yield running
    finally:
        process.terminate()
        process.wait(30)
