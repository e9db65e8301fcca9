"""`storeboot status` and `storeboot timeline`."""

from __future__ import annotations

import json
import time
from dataclasses import asdict
from pathlib import Path

import click

from storeboot import config
from storeboot.boot.state import MachineState
from storeboot.boot.times import clock, duration
from storeboot.cli.health import health_warnings, live_of, server_health
from storeboot.cli.names import complete_hosts
from storeboot.cli.options import config_option, json_option, say
from storeboot.cli.tables import print_table
from storeboot.deploy.hazards import hazards
from storeboot.deploy.inventory import Inventory, opened
from storeboot.deploy.overview import HostOverview, Live, overview
from storeboot.deploy.overview import timeline as timeline_of
from storeboot.errors import StorebootError

SERVER = "_server"
REFUSALS_SHOWN = 10
REFUSALS_SECONDS = 3600.0  # older ones are only in the JSON


@click.command(short_help="Show what each machine is doing.")
@config_option
@json_option
def status(config_path: Path, as_json: bool) -> None:
    """Show what the machine of each host is doing: its state, the last stage of its boot and when
    it was passed, and the reason if the boot failed or stalled.

    Below the table are the machines that asked for something in the last hour and were refused.
    """
    loaded = config.load(config_path)
    _require_database(loaded)
    health = server_health(loaded)
    for words in health_warnings(loaded, health):
        say(f"warning: {words}")
    live = live_of(health, time.time())
    with opened(loaded) as inventory:
        found = overview(inventory, live)
        if live is None:
            say(f"warning: {_no_server(inventory)}")
    for hazard in hazards():
        say(f"warning: {hazard.advice}")
    for words in found.damages:
        say(f"warning: {words}")
    _warn_of_dnsmasq(loaded)
    if as_json:
        hosts = {each.name: _document(each) for each in found.hosts}
        # No host can have this name. None means that no server answers.
        click.echo(json.dumps({**hosts, SERVER: health}, indent=2))
        return
    print_table(
        ("HOST", "STATE", "STAGE", "SINCE", "GENERATION", "MEANING"),
        [
            (each.name, each.state.condition, each.state.stage, _since(each.state),
             _generation(each), _words(each))
            for each in found.hosts
        ],
    )  # fmt: skip
    if live is not None:
        _show_refusals(live)


def _no_server(inventory: Inventory) -> str:
    """Return the warning that the states are old."""
    if inventory.state.serving.is_held():
        return "the server does not answer; this is what was known before"
    until = inventory.state.serving.until()
    known = f"; this is what was known until {clock(until)}" if until is not None else ""
    return f"no server is running{known}"


def _show_refusals(live: Live) -> None:
    """Show who was refused lately, below the hosts."""
    lately = [each for each in live.refusals if each.at > live.now - REFUSALS_SECONDS]
    if not lately:
        return
    click.echo()
    print_table(
        ("REFUSED", "ADDRESS", "LAST", "TIMES", "REASON"),
        [
            (each.mac or "-", each.address, f"{duration(live.now - each.at)} ago",
             str(each.count), each.text)
            for each in lately[:REFUSALS_SHOWN]
        ],
    )  # fmt: skip
    if len(lately) > REFUSALS_SHOWN:
        more = len(lately) - REFUSALS_SHOWN
        click.echo(f"and {more} more: storeboot status --json")


def _document(each: HostOverview) -> dict[str, object]:
    state = each.state
    return {
        "state": state.condition,
        "meaning": state.words,
        "stage": state.stage,
        "since": state.since,
        "seen_at": state.seen_at,
        "as_of": state.as_of,
        "reason": state.reason,
        "units": list(state.units),
        "boot": each.boot.id if each.boot else None,
        "booted": each.boot.system if each.boot else None,
        "runs": each.boot.system if each.boot and each.is_running else None,
        "next": each.next.system.text if each.next else None,
        "generation": each.next.number if each.next else None,
        "held": each.held,
        "damaged": list(each.damaged),
    }


def _warn_of_dnsmasq(loaded: config.Config) -> None:
    """Warn that dnsmasq has ended. It is restarted; until then firmware gets no answer."""
    file = loaded.server.state_directory / "dhcp" / "state.json"
    if loaded.dhcp.mode == "off":
        return
    try:
        said = json.loads(file.read_text())
    except (OSError, ValueError):  # the server is not running
        return
    if said["pid"] is None:
        say(
            f"warning: dnsmasq has exited and is being restarted; its last message: {said['words']}"
        )
    elif said["starts"] > 1:
        say(f"warning: dnsmasq has been started {said['starts']} times since the server started")


def _generation(each: HostOverview) -> str:
    """Return the generation that boots next, and the one that runs if that is another."""
    if each.next is None:
        return "-"
    if not each.is_running or each.runs == each.next:
        return str(each.next.number)
    runs = each.runs.number if each.runs is not None else "one that is gone"
    return f"{each.next.number} (runs {runs})"


def _since(each: MachineState) -> str:
    return duration(time.time() - each.since) + " ago" if each.since is not None else "-"


def _words(each: HostOverview) -> str:
    words = each.state.words
    notes = [f"held: {each.held}"] if each.held else []
    notes += [f"damaged: {each.damaged[0]}"] if each.damaged else []
    return f"{words} ({'; '.join(notes)})" if notes else words


@click.command(short_help="Show the stages of a host's latest boot.")
@click.argument("host", shell_complete=complete_hosts)
@config_option
@json_option
def timeline(host: str, config_path: Path, as_json: bool) -> None:
    """Show every stage of the latest boot of HOST, and the time of each."""
    loaded = config.load(config_path)
    _require_database(loaded)
    with opened(loaded) as inventory:
        passed = timeline_of(inventory, host)
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
