"""`storeboot boot-media`."""

from __future__ import annotations

from pathlib import Path

import click

from storeboot import config
from storeboot.cli.options import config_option, network_option, own_address, say
from storeboot.deploy.inventory import boot_url
from storeboot.dhcp.firmware import PLACES, find_programs, is_there
from storeboot.dhcp.media import files
from storeboot.dhcp.stick import write_files, write_image


@click.command(short_help="Write a USB stick that boots machines from this server.")
@click.argument("place", type=click.Path(path_type=Path))
@click.option("--image", is_flag=True, help="Write a file system image to the file PLACE.")
@network_option
@config_option
@click.option("--dry-run", is_flag=True, help="Show what would be written, and write nothing.")
def boot_media(
    place: Path, image: bool, network: str | None, config_path: Path, dry_run: bool
) -> None:
    """Write iPXE and its script to the directory PLACE, for networks whose DHCP server cannot be
    changed.

    The machine takes an address from any DHCP server and then contacts this server. Copy the files
    to a FAT file system, or write an image to a stick. UEFI starts both as they are. BIOS needs
    SYSLINUX: installed here for an image, on the stick for files.
    """
    loaded = config.load(config_path)
    local = own_address(loaded, network)
    bios = next((at / "ipxe.lkrn" for at in PLACES if is_there(at / "ipxe.lkrn")), None)
    made = files(find_programs(loaded.dhcp.ipxe), bios, boot_url(loaded, local))
    if not dry_run:
        if image:
            write_image(place, made, say)
        else:
            write_files(place, made)
    for name, data in sorted(made.items()):
        click.echo(f"{len(data):9}  {name}")
