"""`storeboot boot-media`."""

from __future__ import annotations

import shutil
from collections.abc import Mapping
from pathlib import Path
from tempfile import TemporaryDirectory

import click

from storeboot import config
from storeboot.cli.options import config_option, network_option, own_address, say
from storeboot.deploy.inventory import boot_url
from storeboot.dhcp.firmware import PLACES, find_programs, is_there
from storeboot.dhcp.media import files
from storeboot.errors import StorebootError
from storeboot.files import publish
from storeboot.process import run

_MTOOLS = "install mtools (on Debian: apt-get install mtools)"
_ROOM = 4 << 20  # bytes beside the files


@click.command(short_help="Write what a USB stick needs to boot machines from this server.")
@click.argument("place", type=click.Path(path_type=Path))
@click.option("--image", is_flag=True, help="Write a file system image to the file PLACE.")
@network_option
@config_option
@click.option("--dry-run", is_flag=True, help="Say what would be written, and write nothing.")
def boot_media(
    place: Path, image: bool, network: str | None, config_path: Path, dry_run: bool
) -> None:
    """Write iPXE and its script to the directory PLACE, where nobody's DHCP can be changed.

    The machine takes an address from whoever gives one and goes on to this server. Copy the files
    to a FAT file system, or write an image to a stick. UEFI starts them as they are, BIOS where
    SYSLINUX is installed: here for an image, on the stick for files.
    """
    loaded = config.load(config_path)
    local = own_address(loaded, network)
    bios = next((at / "ipxe.lkrn" for at in PLACES if is_there(at / "ipxe.lkrn")), None)
    made = files(find_programs(loaded.dhcp.ipxe), bios, boot_url(loaded, local))
    if not dry_run:
        try:
            (_write_image if image else _write_files)(place, made)
        except OSError as error:
            raise StorebootError(f"cannot write {place}: {error.strerror}") from None
    for name, data in sorted(made.items()):
        click.echo(f"{len(data):9}  {name}")


def _write_files(place: Path, made: Mapping[str, bytes]) -> None:
    for name, data in made.items():
        goal = place / name
        goal.parent.mkdir(parents=True, exist_ok=True)
        goal.write_bytes(data)


def _write_image(place: Path, made: Mapping[str, bytes]) -> None:
    """FAT over the whole image, which sticks have as well; whole under its name."""
    size = sum(map(len, made.values())) + _ROOM
    with publish(place, 0o644) as partial:
        with TemporaryDirectory(prefix="storeboot-") as directory:
            _write_files(Path(directory), made)
            with partial.open("wb") as stream:
                stream.truncate(size + -size % (1 << 20))
            run(["mformat", "-i", partial, "-v", "STOREBOOT", "::"], hint=_MTOOLS)
            parts = sorted(Path(directory).iterdir())
            run(["mcopy", "-i", partial, "-s", *parts, "::"], hint=_MTOOLS)
        if "syslinux.cfg" in made and shutil.which("syslinux") is not None:
            run(["syslinux", "--install", partial])
        elif "syslinux.cfg" in made:
            say("SYSLINUX is not installed here: the image starts with UEFI only")
