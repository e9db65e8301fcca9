"""`storeboot dnsmasq`."""

from __future__ import annotations

from pathlib import Path

import click

from storeboot.errors import StorebootError
from storeboot.serve import loop
from storeboot.serve.dnsmasq import warden
from storeboot.systemd import listen_fds


@click.command(short_help="Run dnsmasq for the server; started by systemd.")
@click.option(
    "--program",
    type=click.Path(path_type=Path),
    help="The dnsmasq program. Default: the one on PATH.",
)
def dnsmasq(program: Path | None) -> None:
    """Run dnsmasq for `storeboot serve`, as a user that cannot read the server's files.

    storeboot-dnsmasq.service starts this command; it is not useful elsewhere. The server says over
    the unit's socket when dnsmasq has to run.
    """
    given = [each for sockets in listen_fds().values() for each in sockets]
    if len(given) != 1:
        raise StorebootError(
            "systemd passed no socket", "systemctl enable --now storeboot-dnsmasq.socket"
        )
    loop.run(warden.guard(given[0], program), nfs=False)
