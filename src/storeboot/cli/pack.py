"""`storeboot pack`."""

from __future__ import annotations

import json
import os
from collections import Counter
from dataclasses import asdict
from pathlib import Path

import click

from storeboot import config
from storeboot.cli.options import config_option, json_option, say
from storeboot.cli.tables import mebibytes, print_table
from storeboot.deploy.inventory import Inventory, opened
from storeboot.deploy.state import ViewRecord
from storeboot.pack.builder import Pack, newest


@click.group(short_help="Build and show boot packs.")
def pack() -> None:
    """A pack has the names of a system's closure, and the files that its boots read, in one file.

    Hosts with mode = "pack" get it; it is built by itself when a system is deployed to one.
    """


def _view(inventory: Inventory, system: str) -> ViewRecord:
    systems = inventory.systems
    with inventory.state.locks.roots():
        return inventory.state.views.add(systems.store, systems.toplevel(system))


@pack.command(short_help="Build the pack of a system.")
@click.argument("system")
@config_option
@json_option
def build(system: str, config_path: Path, as_json: bool) -> None:
    """Build the pack of SYSTEM with all that was learned of its boots so far."""
    with opened(config.load(config_path)) as inventory:
        made = inventory.systems.packs.build(_view(inventory, system), say)
    if as_json:
        click.echo(json.dumps(asdict(made), indent=2, default=str))
        return
    click.echo(_described(made))


def _described(made: Pack) -> str:
    return (f"{made.path}: {mebibytes(made.size)}, {made.inodes} inodes, {made.hot_files} hot "
            f"files of {mebibytes(made.hot_bytes)}")  # fmt: skip


@pack.command(short_help="Show what is hot of a system.")
@click.argument("system")
@config_option
@json_option
def show(system: str, config_path: Path, as_json: bool) -> None:
    """Show the newest pack of SYSTEM, and by package which files the next one has."""
    with opened(config.load(config_path)) as inventory:
        view = _view(inventory, system)
        built = newest(inventory.state.packs, view.view_id)
        chosen = sorted(inventory.systems.packs.choose(view))
        sizes, files = Counter[str](), Counter[str]()
        for path in chosen:
            package = path.partition(b"/")[0].decode()
            place = inventory.systems.store.directory / os.fsdecode(path)
            sizes[package] += place.lstat().st_size
            files[package] += 1
    if as_json:
        names = [path.decode(errors="backslashreplace") for path in chosen]
        document = {"view": view.view_id, "pack": asdict(built) if built else None, "hot": names}
        click.echo(json.dumps(document, indent=2, default=str))
        return
    if built is not None:
        click.echo(_described(built))
    print_table(
        ("PACKAGE", "FILES", "SIZE"),
        [(name, str(files[name]), mebibytes(size)) for name, size in sizes.most_common()],
    )
