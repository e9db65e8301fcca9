"""`storeboot gc`."""

from __future__ import annotations

import json
import time
from pathlib import Path

import click

from storeboot import config
from storeboot.boot.times import duration
from storeboot.cli.options import config_option, json_option, say
from storeboot.cli.tables import mebibytes
from storeboot.deploy.collection import Collection, collect
from storeboot.deploy.inventory import opened


@click.command(short_help="Remove old generations, and store paths that are no longer needed.")
@config_option
@json_option
@click.option("--keep", type=click.IntRange(min=0), default=5, show_default=True,
              help="Number of generations to keep of each host, besides the one that boots "
                   "next.")  # fmt: skip
@click.option("--dry-run", is_flag=True, help="Show what would be done, and do nothing.")
def gc(config_path: Path, as_json: bool, keep: int, dry_run: bool) -> None:
    """Remove old generations, then the store paths that only they needed.

    What a machine runs is kept until the machine boots again, shuts down, or has not been heard of
    for boots.lease_days. Nothing else in the store is touched.
    """
    with opened(config.load(config_path)) as inventory:
        now = time.time()
        done = collect(inventory, keep, now, say, dry_run=dry_run)
    for words in done.plan.unread:
        say(f"warning: {words}: nothing that it may need is deleted")
    if as_json:
        click.echo(json.dumps(_document(done), indent=2))
    else:
        _print(done, now)


def _document(done: Collection) -> dict[str, object]:
    plan, freed = done.plan, done.freed
    return {
        "removed": [
            {"host": each.host, "generation": each.generation.number,
             "system": each.generation.system.text}
            for each in plan.removals
        ],
        "held": [
            {"host": boot.host, "boot": boot.id, "system": boot.system, "seen_at": boot.seen_at}
            for boot in plan.held
        ],
        "dry_run": freed is None,
        "freed": list(freed.paths) if freed else sorted(plan.candidates),
        "bytes": freed.bytes if freed else plan.bytes,
        "alive": list(freed.alive) if freed else [],
        "damaged": list(plan.unread),
    }  # fmt: skip


def _print(done: Collection, now: float) -> None:
    plan, freed = done.plan, done.freed
    will = "would remove" if freed is None else "removed"
    for each in plan.removals:
        click.echo(f"{will} {each.host} generation {each.generation.number}: "
                   f"{each.generation.system}")  # fmt: skip
    for boot in plan.held:
        click.echo(f"kept {boot.system}: {boot.host} runs it in boot {boot.id}, last heard of "
                   f"{duration(now - boot.seen_at)} ago")  # fmt: skip
    if freed is None:
        size = mebibytes(plan.bytes)
        click.echo(f"would free at most {len(plan.candidates)} paths, {size}")
        return
    click.echo(f"freed {len(freed.paths)} paths, {mebibytes(freed.bytes)}")
    if freed.alive and plan.deletes:
        click.echo(f"{len(freed.alive)} paths are kept because something else needs them, the "
                   f"first is {freed.alive[0]}")  # fmt: skip
