"""dnsmasq alone with the product's configuration, in a network of its own, for tests/corpus.

It needs root, as all network namespaces do.
"""

from __future__ import annotations

import os
import subprocess
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from threading import Event, Thread
from typing import Any

import pytest

from network.lab import Namespace, attached, bridged
from storeboot.config import DhcpSection, NetworkSection
from storeboot.dhcp.dnsmasq import Places, configuration, reservations, reserved
from storeboot.dhcp.faults import Fault, Faults
from storeboot.dhcp.firmware import spellings
from storeboot.dhcp.journal import STARTED, Journal, Seen

SERVER = "10.77.0.1"
PROGRAMS = ("bios.0", "x64.efi", "ia32.efi", "arm64.efi")
_PROBE = "is-it-done"


@dataclass
class Lab:
    """A running dnsmasq, and a client beside it."""

    client: Namespace
    places: Places
    lines: list[str] = field(default_factory=list)
    ready: Event = field(default_factory=Event)

    def listen(self, stream: Iterable[str]) -> None:
        """Keep what dnsmasq says, and say when it has started."""
        for line in stream:
            self.lines.append(line)
            if STARTED.search(line):
                self.ready.set()
        self.ready.set()

    def ask(self, **said: object) -> Any:
        return self.client.ask("eth0", **said)

    def settle(self) -> None:
        """Return when dnsmasq has read all that was sent before.

        It looks at new requests first and then at transfers, so the second answer comes after all
        of them.
        """
        for _ in range(2):
            self.ask(server=SERVER, get=_PROBE)

    def told(self) -> tuple[list[Seen], list[Fault]]:
        """Return what the product makes of the lines, each once."""
        journal, faults = Journal(), Faults(self.places.tftp, PROGRAMS)
        lines = [line for line in self.lines if _PROBE not in line]
        seen = [journal.line(line) for line in lines]
        wrong = [faults.line(line) for line in lines]
        return (list(dict.fromkeys(filter(None, seen))), list(dict.fromkeys(filter(None, wrong))))


@contextmanager
def lab(case: dict[str, Any], directory: Path) -> Iterator[Lab]:
    """Start dnsmasq for a case: `dhcp` and `network` are sections of a configuration, `hosts` has
    MAC addresses, addresses, and whether they are boards."""
    if os.geteuid() != 0:
        pytest.skip("network namespaces need root")
    places = Places(directory / "tftp", directory / "hosts", directory / "leases")
    section = DhcpSection.model_validate({"mode": "full", **case.get("dhcp", {})})
    network = NetworkSection.model_validate({
        "interface": "br0", "address": f"{SERVER}/24", "range": ["10.77.0.100", "10.77.0.199"],
        **case.get("network", {}),
    })  # fmt: skip
    _write(directory, places, configuration(section, {"lab": network}, PROGRAMS, places, 8080))
    hosts = [(tuple(each["mac"]), tuple(each.get("address", ())), each.get("board", False))
             for each in case.get("hosts", ())]  # fmt: skip
    places.reservations.write_text(reservations(reserved(hosts, [network])))
    with bridged(f"{SERVER}/24") as server, attached(server) as client:
        made = Lab(client, places)
        argv = server.argv(
            "dnsmasq", "--user=root", "--no-ping", f"--conf-file={directory / 'conf'}"
        )
        with subprocess.Popen(argv, stderr=subprocess.PIPE, text=True, errors="replace") as process:
            assert process.stderr is not None
            listening = Thread(target=made.listen, args=(process.stderr,))
            listening.start()
            try:
                assert made.ready.wait(60)
                assert process.poll() is None, made.lines
                yield made
            finally:
                process.terminate()
                listening.join(60)


def _write(directory: Path, places: Places, text: str) -> None:
    places.tftp.mkdir()
    for number, name in enumerate(PROGRAMS):
        (places.tftp / name).write_bytes(bytes([number]) * 5000)
        for other in spellings(name):
            (places.tftp / other).symlink_to(name)
    (directory / "conf").write_text(text)
