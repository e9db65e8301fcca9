"""`storeboot host`: which machines are known, and how each boots."""

from __future__ import annotations

import json
import sys
import time
from dataclasses import asdict
from pathlib import Path
from typing import Any

import click

from storeboot import config
from storeboot.boot.times import clock
from storeboot.cli.names import complete_groups, complete_hosts, complete_systems
from storeboot.cli.options import config_option, json_option, say
from storeboot.cli.settings import complete_settings, given, named, setting_options
from storeboot.cli.table_files import HostTable, read_csv
from storeboot.cli.tables import plain, print_table
from storeboot.config import MAC, BootSettings, settings_of
from storeboot.deploy.inventory import Inventory, opened
from storeboot.errors import StorebootError
from storeboot.hosts.host import AmbiguousMachineError, Host, Machine
from storeboot.hosts.registry import read_section
from storeboot.hosts.unknown import shared_by

# What happens to an unknown machine, by machines.unknown.
_UNKNOWN = {
    "ignore": "no host: the boot script says so, and the firmware carries on",
    "register": (
        "no host: it is recorded for `storeboot host list --unknown`, and the firmware carries on"
    ),
    "menu": "no host: somebody chooses at its console which host it boots like",
    "default": "no host: it boots like {policy.default}, under a name of its own",
}


@click.group(short_help="Add, list, show, change and remove hosts.")
def host() -> None:
    """Manage hosts. Hosts that are added here are kept in the database; hosts declared in the
    configuration file are changed only there.

    Neither overwrites the other: it is an error if both have the same name or matcher.
    """


@host.command(short_help="Add a host, or many from a CSV file.")
@click.argument("name", required=False)
@setting_options
@click.option("--system", shell_complete=complete_systems,
              help="System to deploy to the host at once.")  # fmt: skip
@click.option("--csv", "table", type=click.Path(path_type=Path, readable=False),
              help="Add every host in a CSV file with a column `name` and columns for any "
                   "settings. Separate several values of one setting by spaces; put a value with "
                   "spaces in quotes. A serial or label without quotes is one value.")  # fmt: skip
@config_option
@click.option("--dry-run", is_flag=True, help="Check the settings, and add nothing.")
def add(
    name: str | None,
    table: Path | None,
    system: str | None,
    config_path: Path,
    dry_run: bool,
    **values: Any,
) -> None:
    """Add the host NAME. It needs at least one matcher: a MAC address, UUID, serial number or
    label.
    """
    if (name is None) == (table is None):
        raise click.UsageError("give either NAME or --csv FILE")
    settings = given(values)
    if table is not None and settings:
        raise click.UsageError("with --csv FILE, settings are columns of the file")
    loaded = config.load(config_path)
    if table is not None:
        found = read_csv(table)
    else:
        found = HostTable({str(name): read_section(str(name), settings)}, None)
    with opened(loaded) as inventory:
        inventory.registry.add_all(
            found.sections, time.time(), places=found.places, dry_run=dry_run
        )
        for key in found.sections:
            say(f"{'would add' if dry_run else 'added'} {key}")
        if system is not None and not dry_run:
            _deploy(inventory, list(found.sections), system)


def _deploy(inventory: Inventory, names: list[str], system: str) -> None:
    """Deploy a system to new hosts; remove them again if it cannot be deployed."""
    try:
        toplevel = inventory.systems.toplevel(system)
        for name in names:
            known = inventory.registry.require(name)
            inventory.deployments.deploy(known, toplevel, inventory.url, say)
    except StorebootError:
        for name in names:
            inventory.remove(name)
        raise


@host.command("list", short_help="List all hosts.")
@config_option
@json_option
@click.option("--unknown", is_flag=True,
              help="List unknown machines that have asked to boot "
              '(machines.unknown = "register").')  # fmt: skip
def list_(config_path: Path, as_json: bool, unknown: bool) -> None:
    """List every host with its origin, its matchers, and the system that it boots next."""
    with opened(config.load(config_path)) as inventory:
        if unknown:
            _list_unknown(inventory, as_json)
            return
        hosts = inventory.registry.all()
        systems = inventory.deployments.all_current(each.name for each in hosts)
    rows = [(each, systems[each.name]) for each in hosts]
    if as_json:
        click.echo(json.dumps([_document(each, system) for each, system in rows], indent=2))
        return
    print_table(
        ("HOST", "FROM", "GROUP", "MATCHERS", "SYSTEM"),
        [
            (
                each.name,
                "configuration" if each.declared else "command",
                each.group or "-",
                " ".join(sorted(each.matchers)),
                str(system) if system else "-",
            )
            for each, system in rows
        ],
    )


def _list_unknown(inventory: Inventory, as_json: bool) -> None:
    machines = inventory.unknown.all()
    if as_json:
        click.echo(json.dumps([asdict(each) for each in machines], indent=2))
        return
    if inventory.config.machines.unknown == "ignore":
        say('nothing is recorded: machines.unknown is "ignore"')
    print_table(
        ("MAC", "UUID", "SERIAL", "ADDRESS", "SEEN LAST"),
        [(each.mac, each.uuid or "-", each.serial or "-", each.address, clock(each.last_at))
         for each in machines],
    )  # fmt: skip
    for value, macs in shared_by(machines).items():
        say(f"{plain(value)!r} identifies no machine: {len(macs)} machines send it "
            f"({', '.join(macs)})")  # fmt: skip


@host.command(short_help="Make an unknown machine a host.")
@click.argument("mac")
@click.argument("name")
@click.option("--group", shell_complete=complete_groups,
              help="Group whose settings the host inherits.")  # fmt: skip
@click.option("--system", shell_complete=complete_systems,
              help="System to deploy to the host at once.")  # fmt: skip
@config_option
@click.option("--dry-run", is_flag=True, help="Check the settings, and add nothing.")
def adopt(
    mac: str, name: str, group: str | None, system: str | None, config_path: Path, dry_run: bool
) -> None:
    """Add the unknown machine with this MAC address as the host NAME."""
    plain = Machine.from_words(mac, "", "").mac
    with opened(config.load(config_path)) as inventory:
        seen = inventory.unknown.get(plain)
        if seen is None:
            raise StorebootError(
                f"no unknown machine has the MAC address {plain}",
                "see storeboot host list --unknown",
            )
        values: dict[str, object] = {"mac": [seen.mac]}
        if group is not None:
            values["group"] = group
        sections = {name: read_section(name, values)}
        inventory.registry.add_all(sections, time.time(), dry_run=dry_run)
        say(f"{'would add' if dry_run else 'added'} {name}")
        if dry_run:
            return
        if system is not None:
            _deploy(inventory, [name], system)
        inventory.unknown.forget(seen.mac)


@host.command(short_help="Show a host with all its settings.")
@click.argument("name", shell_complete=complete_hosts)
@config_option
@json_option
def show(name: str, config_path: Path, as_json: bool) -> None:
    """Show the settings with which NAME boots, including those from its group and the defaults."""
    with opened(config.load(config_path)) as inventory:
        known = inventory.registry.require(name)
        document = _document(known, inventory.deployments.current(name))
    if as_json:
        click.echo(json.dumps(document, indent=2))
        return
    for key, value in document.items():
        text = " ".join(value) if isinstance(value, list) else value
        click.echo(plain(f"{key:20} {text if text not in (None, '') else '-'}"))


def _document(known: Host, system: object) -> dict[str, object]:
    return {
        "name": known.name,
        "from": "configuration" if known.declared else "command",
        "group": known.group,
        "matchers": sorted(known.matchers),
        "address": list(known.addresses),
        "hostname": known.hostname,
        **known.model_dump(mode="json", include=set(settings_of(BootSettings))),
        "system": str(system) if system else None,
    }


@host.command("set", short_help="Change settings of an added host.")
@click.argument("name", shell_complete=complete_hosts)
@setting_options
@click.option("--unset", multiple=True, shell_complete=complete_settings,
              help="Setting to remove, such as group.")  # fmt: skip
@config_option
@click.option("--dry-run", is_flag=True, help="Check the settings, and change nothing.")
def set_(
    name: str, unset: tuple[str, ...], config_path: Path, dry_run: bool, **values: Any
) -> None:
    """Change settings of NAME. An option replaces the setting's old value; other settings stay
    as they are.
    """
    gone, settings = named(unset), given(values)
    if not gone and not settings:
        raise StorebootError(
            f"nothing to change in host {name!r}", "give a setting, such as --group, or --unset"
        )
    with opened(config.load(config_path)) as inventory:
        inventory.registry.require_added(name)
        section = inventory.registry.added(name)
        old = section.model_dump(exclude_unset=True) if section is not None else {}
        kept = {key: value for key, value in old.items() if key not in gone}
        changed = read_section(name, {**kept, **settings})
        same = changed.model_dump(exclude_unset=True) == old
        if not same:
            inventory.registry.change(name, changed, time.time(), dry_run=dry_run)
    if same:
        say(f"{name} has these settings already: nothing to change")
    elif dry_run:
        say(f"would change {name}")
    else:
        say(f"changed {name}; the change applies from its next boot")


@host.command(short_help="Remove an added host.")
@click.argument("name", shell_complete=complete_hosts)
@config_option
@click.option(
    "--dry-run", is_flag=True, help="Check that the host can be removed, and remove nothing."
)
def remove(name: str, config_path: Path, dry_run: bool) -> None:
    """Remove NAME. Its machine keeps running: `storeboot gc` deletes nothing that it uses."""
    with opened(config.load(config_path)) as inventory:
        if dry_run:
            inventory.registry.require_added(name)
        else:
            inventory.remove(name)
    say(f"{'would remove' if dry_run else 'removed'} {name}")


@host.command(short_help="Show what a machine would boot, and why.")
@click.option("--mac", default="", help="Its MAC address.")
@click.option("--uuid", default="", help="Its SMBIOS UUID.")
@click.option("--serial", default="", help="Its SMBIOS serial number.")
@click.option(
    "--label",
    multiple=True,
    help="Host label: another string that its iPXE sends, such as asset=LAB-7.",
)
@config_option
@json_option
def whois(
    mac: str, uuid: str, serial: str, label: tuple[str, ...], config_path: Path, as_json: bool
) -> None:
    """Show which host a machine is, which matchers decide that, and what it would boot.

    The exit status is 1 if it is no host.
    """
    machine = Machine.from_words(mac, uuid, serial, label)
    if not machine.matchers and not machine.shared:
        raise click.UsageError("give at least one of --mac, --uuid, --serial and --label")
    if machine.mac and MAC.fullmatch(machine.mac) is None:
        raise StorebootError(f"{mac!r} is not a MAC address", "write it like 52:54:00:12:34:56")
    with opened(config.load(config_path)) as inventory:
        try:
            known = inventory.registry.find(machine)
        except AmbiguousMachineError as error:
            raise StorebootError(str(error), "remove the matcher from one of them") from None
        system = inventory.deployments.current(known.name) if known is not None else None
        policy = inventory.config.machines
    because = sorted(known.matchers & machine.matchers) if known is not None else []
    ignored = sorted(machine.shared)
    if as_json:
        document = {"host": known.name if known else None, "because": because, "ignored": ignored,
                    "system": str(system) if system else None}  # fmt: skip
        click.echo(json.dumps(document, indent=2))
        sys.exit(0 if known is not None else 1)
    for value in ignored:
        click.echo(f"{plain(value)!r} is ignored: many boards have it")
    if known is None:
        click.echo(_UNKNOWN[policy.unknown].format(policy=policy))
        sys.exit(1)
    why = ", ".join(because)
    click.echo(plain(f"{known.name}, because of {why}; it boots {system or 'nothing'}"))
