"""`storeboot status` and `storeboot timeline`."""

from __future__ import annotations

import json
import time
from dataclasses import asdict, dataclass
from pathlib import Path

import click

from storeboot import config
from storeboot.boot.timeline import State, last_boot, state, steps
from storeboot.cli.health import health_warnings, server_health
from storeboot.cli.names import complete_hosts
from storeboot.cli.options import config_option, json_option, say
from storeboot.cli.tables import clock, duration, print_table
from storeboot.deploy.damage import damages
from storeboot.deploy.hazards import hazards
from storeboot.deploy.inventory import Inventory, opened
from storeboot.errors import StorebootError
from storeboot.hosts.boots import Boot
from storeboot.hosts.holds import Hold
from storeboot.hosts.host import Host
from storeboot.nix.profiles import Generation

SERVER = "_server"


@click.command(short_help="Show where each machine is in its boot.")
@config_option
@json_option
def status(config_path: Path, as_json: bool) -> None:
    """Show for each host the stage it is in, since when, and its own words if it failed."""
    loaded = config.load(config_path)
    _require_database(loaded)
    health = server_health(loaded)
    for words in health_warnings(loaded, health):
        say(f"warning: {words}")
    with opened(loaded) as inventory:
        held = inventory.holds.all()
        known = inventory.known()
        damaged = damages(inventory, known)
        machines = {
            host.name: _machine(inventory, host, held.get(host.name), damaged.get(host.name, []))
            for host in known
        }
    for hazard in hazards():
        say(f"warning: {hazard}")
    for words in sorted({words for some in damaged.values() for words in some}):
        say(f"warning: {words}")
    _warn_of_dnsmasq(loaded)
    if as_json:
        hosts = {
            name: {
                **asdict(each.state),
                "boot": each.boot.id if each.boot else None,
                "runs": each.boot.system if each.boot else None,
                "next": each.next.system.text if each.next else None,
                "generation": each.next.number if each.next else None,
                "held": each.held,
                "damaged": each.damaged,
            }
            for name, each in machines.items()
        }
        # No host can have this name. None: no server answers.
        click.echo(json.dumps({**hosts, SERVER: health}, indent=2))
        return
    print_table(
        ("HOST", "STAGE", "SINCE", "GENERATION", "MEANING"),
        [
            (name, each.state.stage, _since(each.state), each.generation, _words(each))
            for name, each in machines.items()
        ],
    )


def _warn_of_dnsmasq(loaded: config.Config) -> None:
    """It is started again by itself; until then no firmware is told anything."""
    file = loaded.server.state_directory / "dhcp" / "state.json"
    if loaded.dhcp.mode == "off":
        return
    try:
        said = json.loads(file.read_text())
    except (OSError, ValueError):  # the server does not run
        return
    if said["pid"] is None:
        say(f"warning: dnsmasq has ended and is started again; its last words: {said['words']}")
    elif said["starts"] > 1:
        say(f"warning: dnsmasq was started {said['starts']} times since the server's start")


@dataclass(frozen=True, slots=True)
class _Machine:
    """What is known of a host: its last boot, and what it boots next."""

    state: State
    boot: Boot | None
    next: Generation | None
    runs: Generation | None
    held: str | None  # why
    damaged: list[str]  # files that are its own

    @property
    def generation(self) -> str:
        """The one that boots next, and the one that runs where that is another."""
        if self.next is None:
            return "-"
        if self.boot is None or self.boot.ended_at is not None or self.runs == self.next:
            return str(self.next.number)
        runs = self.runs.number if self.runs is not None else "one that is gone"
        return f"{self.next.number} (runs {runs})"


def _machine(inventory: Inventory, host: Host, hold: Hold | None, damaged: list[str]) -> _Machine:
    boot = inventory.boots.latest(host.name)
    events = last_boot(inventory.boots.lately(host.name, boot.id if boot else None), boot)
    made = inventory.deployments.generations(host.profile)
    return _Machine(
        state=state(events),
        boot=boot,
        next=next((each for each in made if each.current), None),
        runs=running_generation(inventory, made, boot),
        held=hold.reason if hold else None,
        damaged=damaged,
    )


def running_generation(
    inventory: Inventory, made: list[Generation], boot: Boot | None
) -> Generation | None:
    """The one that a boot runs, itself or as a specialisation; the one that is next if several."""
    if boot is None or boot.ended_at is not None:
        return None
    for each in sorted(made, key=lambda each: not each.current):
        if boot.view in inventory.systems.views(each.system):
            return each
    return None


def _since(each: State) -> str:
    return duration(time.time() - each.since) + " ago" if each.since is not None else "-"


def _words(each: _Machine) -> str:
    words = each.state.failure or each.state.meaning
    notes = [f"held: {each.held}"] if each.held else []
    notes += [f"damaged: {each.damaged[0]}"] if each.damaged else []
    return f"{words} ({'; '.join(notes)})" if notes else words


@click.command(short_help="Show the stages of a host's last boot.")
@click.argument("host", shell_complete=complete_hosts)
@config_option
@json_option
def timeline(host: str, config_path: Path, as_json: bool) -> None:
    """Show every stage that HOST passed in its last boot, and how long each took."""
    loaded = config.load(config_path)
    _require_database(loaded)
    with opened(loaded) as inventory:
        inventory.registry.require(host)
        boot = inventory.boots.latest(host)
        passed = steps(last_boot(inventory.boots.lately(host, boot.id if boot else None), boot))
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


def _require_database(loaded: config.Config) -> None:
    directory = loaded.server.state_directory
    if loaded.database.url is None and not (directory / "storeboot.sqlite").exists():
        raise StorebootError(
            f"no database in {directory}", "start `storeboot serve` with this configuration first"
        )
