"""`storeboot status` and `storeboot timeline`."""

from __future__ import annotations

import json
import time
from dataclasses import asdict
from pathlib import Path

import click

from storeboot import config
from storeboot.boot.timeline import FAILED, State, last_boot, state, steps
from storeboot.cli.options import config_option, json_option
from storeboot.cli.tables import clock, duration, print_table
from storeboot.errors import StorebootError
from storeboot.hosts.boots import Boots, Event
from storeboot.hosts.database import open_database, sqlite_url


@click.command(short_help="Show where each machine is in its boot.")
@config_option
@json_option
def status(config_path: Path, as_json: bool) -> None:
    """Show for each host the stage it is in, since when, and its own words if it failed."""
    loaded = config.load(config_path)
    boots = _boots(loaded)
    states = {name: state(_last_boot(boots, name)) for name in loaded.hosts}
    if as_json:
        hosts = {
            name: {**asdict(each), "boot": boot.id if (boot := boots.latest(name)) else None}
            for name, each in states.items()
        }
        click.echo(json.dumps(hosts, indent=2))
        return
    print_table(
        ("HOST", "STAGE", "SINCE", "MEANING"),
        [(name, each.stage, _since(each), _words(each)) for name, each in states.items()],
    )


def _since(each: State) -> str:
    return duration(time.time() - each.since) + " ago" if each.since is not None else "-"


def _words(each: State) -> str:
    return each.failure if each.stage == FAILED else each.meaning


@click.command(short_help="Show the stages of a host's last boot.")
@click.argument("host")
@config_option
@json_option
def timeline(host: str, config_path: Path, as_json: bool) -> None:
    """Show every stage that HOST passed in its last boot, and how long each took."""
    loaded = config.load(config_path)
    if host not in loaded.hosts:
        raise StorebootError(
            f"no host {host!r} in {config_path}", f"known: {', '.join(sorted(loaded.hosts))}"
        )
    passed = steps(_last_boot(_boots(loaded), host))
    if as_json:
        click.echo(json.dumps([asdict(step) for step in passed], indent=2))
        return
    print_table(
        ("STAGE", "TIME", "SECONDS", "DETAIL"),
        [
            (step.stage, clock(step.at), f"{step.seconds:.1f}", step.detail.partition("\n")[0])
            for step in passed
        ],
    )


def _last_boot(boots: Boots, host: str) -> list[Event]:
    return last_boot(boots.events_since(host, 0), boots.latest(host))


def _boots(loaded: config.Config) -> Boots:
    directory = loaded.server.state_directory
    if not (directory / "storeboot.sqlite").exists():
        raise StorebootError(
            f"no database in {directory}", "start `storeboot serve` with this configuration first"
        )
    return Boots(open_database(sqlite_url(directory)))
