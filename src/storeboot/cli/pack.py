"""`storeboot pack`."""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path

import click

from storeboot import config
from storeboot.cli.names import complete_systems
from storeboot.cli.options import config_option, json_option, say
from storeboot.cli.tables import mebibytes, print_table
from storeboot.deploy.inventory import opened
from storeboot.pack.builder import Pack


@click.group(short_help="Build and show boot packs.")
def pack() -> None:
    """Build and show packs. A pack is one file with all names in a system's closure, and the files
    that its boots read.

    Hosts with mode = "pack" use packs. A pack is built automatically when a system is deployed to
    such a host.
    """


@pack.command(short_help="Build the pack of a system.")
@click.argument("system", shell_complete=complete_systems)
@config_option
@json_option
def build(system: str, config_path: Path, as_json: bool) -> None:
    """Build the pack of SYSTEM with what has been learned from its boots so far."""
    with opened(config.load(config_path)) as inventory:
        systems = inventory.systems
        made = systems.packs.build(systems.rooted(systems.toplevel(system)), say)
    if as_json:
        click.echo(json.dumps(asdict(made), indent=2, default=str))
        return
    click.echo(_described(made))


def _described(made: Pack) -> str:
    return (f"{made.path}: {mebibytes(made.size)}, {made.inodes} inodes, {made.hot_files} hot "
            f"files of {mebibytes(made.hot_bytes)}")  # fmt: skip


@pack.command(short_help="Show the hot files of a system.")
@click.argument("system", shell_complete=complete_systems)
@config_option
@json_option
def show(system: str, config_path: Path, as_json: bool) -> None:
    """Show the newest pack of SYSTEM, and by package the hot files that the next pack will
    contain.
    """
    with opened(config.load(config_path)) as inventory:
        systems = inventory.systems
        found = systems.packs.overview(systems.rooted(systems.toplevel(system)))
    if as_json:
        names = [path.decode(errors="backslashreplace") for path in found.hot]
        built = asdict(found.built) if found.built else None
        document = {"view": found.view, "pack": built, "hot": names}
        click.echo(json.dumps(document, indent=2, default=str))
        return
    if found.built is not None:
        click.echo(_described(found.built))
    print_table(
        ("PACKAGE", "FILES", "SIZE"),
        [(each.name, str(each.files), mebibytes(each.size)) for each in found.packages],
    )
