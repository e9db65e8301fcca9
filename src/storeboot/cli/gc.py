"""`storeboot gc`."""

from __future__ import annotations

import json
import time
from pathlib import Path

import click

from storeboot import config
from storeboot.cli.options import config_option, json_option, say
from storeboot.cli.tables import duration, mebibytes
from storeboot.deploy.collection import (
    Decision,
    Outcome,
    Plan,
    carry_out,
    decide,
    delete_paths,
    plan_collection,
)
from storeboot.deploy.inventory import Inventory, opened
from storeboot.errors import StorebootError


@click.command(short_help="Remove old generations, and what nobody runs any more.")
@config_option
@json_option
@click.option("--keep", type=click.IntRange(min=0), default=5, show_default=True,
              help="Generations of each host that stay besides its next boot.")  # fmt: skip
@click.option("--dry-run", is_flag=True, help="Say what would be done.")
def gc(config_path: Path, as_json: bool, keep: int, dry_run: bool) -> None:
    """Remove old generations, then the store paths that only they had.

    What a machine runs stays until it boots again, shuts down, or is not heard of for
    boots.lease_days. Nothing else in the store is touched.
    """
    loaded = config.load(config_path)
    with opened(loaded) as inventory:
        now = time.time()
        plan = plan_collection(inventory.systems, _decide(inventory, keep, now))
        outcome = None
        if not dry_run:
            plan = carry_out(inventory.deployments, plan, lambda: _decide(inventory, keep, now))
            say(f"asking Nix which of {len(plan.candidates)} paths are dead")
            outcome = delete_paths(inventory.state, inventory.systems.store, plan)
    for words in plan.unread:
        say(f"warning: {words}: nothing is taken that it may need")
    if as_json:
        click.echo(json.dumps(_document(plan, outcome), indent=2))
    else:
        _print(plan, outcome, now)


def _decide(inventory: Inventory, keep: int, now: float) -> Decision:
    for name, error in inventory.registry.invalid().items():
        # Of a host that is gone everything is taken, and this one is not gone.
        raise StorebootError(
            f"host {name!r} is invalid: {error.message}",
            f"mend the configuration, or storeboot host set {name}, or host remove {name}",
        )
    return decide(
        inventory.deployments,
        inventory.registry.all(),
        inventory.leases(now),
        keep,
        inventory.rollouts.promised(),
    )


def _document(plan: Plan, outcome: Outcome | None) -> dict[str, object]:
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
        "dry_run": outcome is None,
        "freed": list(outcome.freed) if outcome else sorted(plan.candidates),
        "bytes": outcome.bytes if outcome else plan.bytes,
        "alive": list(outcome.alive) if outcome else [],
        "damaged": list(plan.unread),
    }  # fmt: skip


def _print(plan: Plan, outcome: Outcome | None, now: float) -> None:
    will = "would remove" if outcome is None else "removed"
    for each in plan.removals:
        click.echo(f"{will} {each.host} generation {each.generation.number}: "
                   f"{each.generation.system}")  # fmt: skip
    for boot in plan.held:
        click.echo(f"kept {boot.system}: {boot.host} runs it in boot {boot.id}, "
                   f"heard of {duration(now - boot.seen_at)} ago")  # fmt: skip
    if outcome is None:
        size = mebibytes(plan.bytes)
        click.echo(f"would free at most {len(plan.candidates)} paths, {size}")
        return
    click.echo(f"freed {len(outcome.freed)} paths, {mebibytes(outcome.bytes)}")
    if outcome.alive and plan.deletes:
        click.echo(f"{len(outcome.alive)} paths stay: something else holds them, "
                   f"first {outcome.alive[0]}")  # fmt: skip
