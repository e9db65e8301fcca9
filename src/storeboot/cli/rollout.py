"""`storeboot rollout`: how far rollouts are, and how one is stopped."""

from __future__ import annotations

import json
import time
from dataclasses import asdict
from pathlib import Path

import click

from storeboot import config
from storeboot.boot.times import clock, duration
from storeboot.cli.names import complete_rollouts
from storeboot.cli.options import ID, config_option, json_option, say, wait_for_server_option
from storeboot.cli.tables import plain, print_table
from storeboot.deploy import following
from storeboot.deploy.inventory import opened
from storeboot.hosts.rollouts import Member, MemberStanding, Rollout


@click.group(short_help="List, show, follow and stop rollouts.")
def rollout() -> None:
    """Show, follow and stop rollouts. `storeboot deploy` starts a rollout, and `storeboot serve`
    carries it on.
    """


@rollout.command("list", short_help="List all rollouts.")
@config_option
@json_option
def list_(config_path: Path, as_json: bool) -> None:
    """List every rollout, the newest first."""
    with opened(config.load(config_path)) as inventory:
        table = inventory.rollouts.table
        rows = [(each, table.counts(each.id)) for each in table.all()]
    if as_json:
        click.echo(
            json.dumps([{**asdict(each), "hosts": counts} for each, counts in rows], indent=2)
        )
        return
    print_table(
        ("ID", "TARGET", "BEGAN", "STANDING", "HOSTS", "SYSTEM"),
        [
            (str(each.id), each.target, clock(each.began_at), _standing(each), _counts(counts),
             each.system)
            for each, counts in rows
        ],
    )  # fmt: skip


@rollout.command(short_help="Show the hosts of a rollout.")
@click.argument("number", metavar="ID", type=ID, shell_complete=complete_rollouts)
@config_option
@json_option
def show(number: int, config_path: Path, as_json: bool) -> None:
    """Show the status of each host in the rollout ID, and the reason."""
    with opened(config.load(config_path)) as inventory:
        found = following.require(inventory, number)
        members = inventory.rollouts.table.members(number)
        held = inventory.holds.all()
    if as_json:
        document = {**asdict(found), "hosts": [asdict(each) for each in members]}
        click.echo(json.dumps(document, indent=2))
        return
    click.echo(plain(f"{found.system} for {found.target}: {_standing(found)}"))
    print_table(
        ("HOST", "STANDING", "GENERATION", "REASON"),
        [
            (each.host, each.standing, str(each.generation or "-"),
             f"held: {held[each.host].reason}"
             if each.standing is MemberStanding.WAITING and each.host in held else _reason(each))
            for each in members
        ],
    )  # fmt: skip


@rollout.command(short_help="Stop a rollout.")
@click.argument("number", metavar="ID", type=ID, shell_complete=complete_rollouts)
@config_option
def stop(number: int, config_path: Path) -> None:
    """Stop the rollout ID: no other host gets the system. Tests that have begun still finish."""
    with opened(config.load(config_path)) as inventory:
        following.stop(inventory, number)
        say(f"rollout {number} is stopped")


@rollout.command("follow", short_help="Watch a rollout until it ends.")
@click.argument("number", metavar="ID", type=ID, shell_complete=complete_rollouts)
@config_option
@wait_for_server_option
def follow_(number: int, config_path: Path, wait_for_server: bool) -> None:
    """Watch the hosts of the rollout ID until it ends. Ctrl-C stops watching; the rollout goes
    on.

    While nothing happens, a line every 30 seconds says which hosts the rollout waits for, and why.
    Watching ends with an error if no server is running, if the rollout was stopped, or if no host
    got the system.
    """
    with opened(config.load(config_path)) as inventory:
        following.require(inventory, number)
        following.follow(inventory, number, say, server_needed=not wait_for_server)


def _standing(each: Rollout) -> str:
    return f"{each.standing}: {each.reason}" if each.reason else str(each.standing)


def _reason(each: Member) -> str:
    since = ""
    if each.standing is MemberStanding.TRYING and each.since is not None:
        asked = "asked" if each.asked else "given"
        since = f"{asked} {duration(max(0.0, time.time() - each.since))} ago"
    return _first_line(each.reason) or since or "-"


def _first_line(text: str) -> str:
    return text.partition("\n")[0]


def _counts(counts: dict[MemberStanding, int]) -> str:
    return ", ".join(f"{counts[part]} {part}" for part in MemberStanding if part in counts)
