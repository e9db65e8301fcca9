"""What stands beside storeboot in the tests of firmware."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

from e2e.systems import CACHE, drivers
from network.lab import Namespace, attached
from network.serving import What
from storeboot.process import run
from storeboot.vm.demo.build import DemoSystem
from storeboot.vm.demo.debian import fetch
from storeboot.vm.demo.locking import locked


def quick(
    built: DemoSystem,
    ipxe: Mapping[str, Path] | None = None,
    busyboxes: Mapping[str, Path] | None = None,
) -> What:
    """A system whose machine has the one driver that it needs, and spares emulation what it can."""
    place, system = built.store.root, built.toplevel.text
    return What(place, system, ipxe or {}, busyboxes or {}, drivers(built), ("mitigations=off",))


def trixie_ipxe(directory: Path) -> Path:
    """The programs of Debian trixie: bookworm's are of 2019."""
    work = CACHE / "ipxe"
    with locked(work):
        (deb,) = (file for file in fetch(["ipxe"], "trixie", work) if file.name[:5] == "ipxe_")
    run(["dpkg-deb", "-x", deb, directory / "ipxe"])
    return directory / "ipxe" / "usr" / "lib" / "ipxe"


@contextmanager
def another_dhcp_server(server: Namespace, directory: Path) -> Iterator[Path]:
    """Which knows nothing of booting; gives its leases."""
    leases = directory / "their-leases"
    with attached(server, address="10.77.0.2/24") as other:
        argv = ["dnsmasq", "--port=0", "--keep-in-foreground", "--conf-file=/dev/null",
                "--interface=eth0", "--dhcp-range=10.77.0.150,10.77.0.160",
                f"--dhcp-leasefile={leases}", "--user=root", "--log-facility=-"]  # fmt: skip
        with subprocess.Popen(other.argv(*argv), stderr=subprocess.PIPE, text=True) as theirs:
            assert theirs.stderr is not None
            while "started" not in theirs.stderr.readline():
                continue
            try:
                yield leases
            finally:
                theirs.terminate()
