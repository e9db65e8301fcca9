"""`storeboot dhcp-snippet`."""

from __future__ import annotations

from pathlib import Path

import click

from storeboot import config
from storeboot.cli.options import config_option, network_option, own_address, say
from storeboot.deploy.inventory import boot_url
from storeboot.dhcp.firmware import find_programs
from storeboot.dhcp.snippets import KINDS, lines


@click.command(short_help="Print configuration lines for another DHCP server.")
@click.argument("kind", type=click.Choice(sorted(KINDS)))
@network_option
@click.option("--tftp", help="Address of the TFTP server. Default: this server.")
@config_option
def dhcp_snippet(kind: str, network: str | None, tftp: str | None, config_path: Path) -> None:
    """Print the lines that an existing DHCP server of this kind needs so that its machines boot
    from this server.

    The lines cover only firmware for which an iPXE is installed. This server serves iPXE over TFTP
    if dhcp.mode is "tftp", and always over HTTP.
    """
    loaded = config.load(config_path)
    local = own_address(loaded, network)
    server = loaded.address_towards(local)
    programs = find_programs(loaded.dhcp.ipxe)
    if not programs:
        say("warning: iPXE is not installed (on Debian: apt-get install ipxe)")
    said = lines(server, boot_url(loaded, local), tftp or server, programs)
    for line in KINDS[kind](said):
        click.echo(line)
