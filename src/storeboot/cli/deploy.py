"""`storeboot deploy`, `storeboot rollback` and `storeboot generations`."""

from __future__ import annotations

import json
from pathlib import Path

import click

from storeboot import config
from storeboot.cli.options import config_option, json_option, say
from storeboot.cli.tables import clock, print_table
from storeboot.deploy.inventory import opened


@click.command(short_help="Give a host, or a group of them, a system to boot from now on.")
@click.argument("target", metavar="HOST|GROUP")
@click.argument("system")
@config_option
@click.option("--dry-run", is_flag=True, help="Say what would be done.")
def deploy(target: str, system: str, config_path: Path, dry_run: bool) -> None:
    """Make SYSTEM the next boot of HOST, or of every host of GROUP, as a new generation.

    SYSTEM is a built toplevel in the store, or a link to one, such as ./result. It is checked and
    made ready first; machines that run are left alone, and boot it when they boot again.
    """
    with opened(config.load(config_path)) as inventory:
        toplevel = inventory.systems.toplevel(system)
        hosts = inventory.registry.of(target)
        if dry_run:
            for host in hosts:
                say(f"{host.name} would boot {toplevel} instead of "
                    f"{inventory.deployments.current(host.name) or 'nothing'}")  # fmt: skip
            return
        for host in hosts:
            number = inventory.deployments.deploy(host, toplevel, inventory.url, say)
            say(f"{host.name}: generation {number} is its next boot")


@click.command(short_help="Let a host boot an older generation again.")
@click.argument("host")
@config_option
@click.option("--generation", "number", type=int,
              help="Which one; by default the one before the current one.")  # fmt: skip
@click.option("--dry-run", is_flag=True, help="Say what would be done.")
def rollback(host: str, config_path: Path, number: int | None, dry_run: bool) -> None:
    """Make an older generation the next boot of HOST. The newer ones stay."""
    with opened(config.load(config_path)) as inventory:
        known = inventory.registry.require(host)
        goal = inventory.deployments.goal(known, number)
        if not dry_run:
            inventory.deployments.switch(known, goal)
        will = "would be" if dry_run else "is"
        say(f"{host}: generation {goal.number} {will} its next boot: {goal.system}")


@click.command(short_help="List the generations of a host.")
@click.argument("host")
@config_option
@json_option
def generations(host: str, config_path: Path, as_json: bool) -> None:
    """List every generation of HOST that is kept, and which one it boots next and runs."""
    with opened(config.load(config_path)) as inventory:
        inventory.registry.require(host)
        made = inventory.deployments.generations(host)
        boot = inventory.boots.latest(host)
    runs = boot.system if boot is not None and boot.ended_at is None else None
    if as_json:
        rows = [
            {
                "generation": each.number,
                "system": each.system.text,
                "made_at": each.made_at,
                "next": each.current,
                "runs": each.system.text == runs,
            }
            for each in made
        ]
        click.echo(json.dumps(rows, indent=2))
        return
    print_table(
        ("GENERATION", "MADE", "", "SYSTEM"),
        [
            (
                str(each.number),
                clock(each.made_at),
                ", ".join(
                    word
                    for word, holds in (("next", each.current), ("runs", each.system.text == runs))
                    if holds
                ),
                each.system.text,
            )
            for each in made
        ],
    )
