"""`storeboot dhcp-snippet`."""

from __future__ import annotations

from pathlib import Path

import click

from storeboot import config
from storeboot.cli.options import config_option, network_option, own_address, say
from storeboot.deploy.inventory import boot_url
from storeboot.dhcp.firmware import find_programs
from storeboot.dhcp.snippets import KINDS, lines


@click.command(short_help="Print lines for a DHCP server that somebody else runs.")
@click.argument("kind", type=click.Choice(sorted(KINDS)))
@network_option
@click.option("--tftp", help="Address of the TFTP server; by default this server.")
@config_option
def dhcp_snippet(kind: str, network: str | None, tftp: str | None, config_path: Path) -> None:
    """Print what an existing DHCP server of this KIND needs so that its machines boot from here.

    Only firmware that there is an iPXE for is named. By TFTP this server hands programs out with
    dhcp.mode = "tftp"; by HTTP it always does.
    """
    loaded = config.load(config_path)
    local = own_address(loaded, network)
    server = loaded.address_towards(local)
    programs = find_programs(loaded.dhcp.ipxe)
    if not programs:
        say("warning: no iPXE is installed here (on Debian: apt-get install ipxe)")
    said = lines(server, boot_url(loaded, local), tftp or server, programs)
    for line in KINDS[kind](said):
        click.echo(line)
