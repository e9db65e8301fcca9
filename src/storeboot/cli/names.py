"""Completion of names. It creates nothing, and is silent when it fails."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from pathlib import Path
from typing import TypeVar

import click
from click.shell_completion import CompletionItem

from storeboot import config
from storeboot.deploy.inventory import Inventory, opened
from storeboot.errors import StorebootError

SECONDS = 1.0  # nobody who has pressed Tab waits longer
Found = TypeVar("Found")


def complete_hosts(
    context: click.Context, _parameter: click.Parameter, incomplete: str
) -> list[str]:
    """Complete the names of hosts."""
    return _starting(incomplete, _hosts(context))


def complete_targets(
    context: click.Context, _parameter: click.Parameter, incomplete: str
) -> list[str]:
    """Complete the names of hosts and groups."""
    return _starting(incomplete, _hosts(context) | _groups(context))


def complete_groups(
    context: click.Context, _parameter: click.Parameter, incomplete: str
) -> list[str]:
    """Complete the names of groups."""
    return _starting(incomplete, _groups(context))


def complete_networks(
    context: click.Context, _parameter: click.Parameter, incomplete: str
) -> list[str]:
    """Complete the names of networks."""
    loaded = _config(context)
    return _starting(incomplete, loaded.networks if loaded is not None else ())


def complete_generations(
    context: click.Context, _parameter: click.Parameter, incomplete: str
) -> list[CompletionItem]:
    """Complete the generations of the host that was typed before, each with its system."""
    # Without its value, the option ends what click reads of the line.
    host = context.params.get("host") or next(iter(context.args), None)
    if host is None:
        return []
    return [
        CompletionItem(str(each.number), help=each.system.name)
        for each in _asked(context, lambda known: known.deployments.generations(host)) or ()
        if str(each.number).startswith(incomplete)
    ]


def complete_rollouts(
    context: click.Context, _parameter: click.Parameter, incomplete: str
) -> list[CompletionItem]:
    """Complete the ids of rollouts, each with its target."""
    return [
        CompletionItem(str(each.id), help=f"{each.target}, {each.standing}")
        for each in _asked(context, lambda known: known.rollouts.table.all()) or ()
        if str(each.id).startswith(incomplete)
    ]


def complete_systems(
    _context: click.Context, _parameter: click.Parameter, incomplete: str
) -> list[CompletionItem]:
    """Complete the names of files, such as ./result."""
    return [CompletionItem(incomplete, type="file")]


def _starting(incomplete: str, names: Iterable[str]) -> list[str]:
    return sorted(name for name in names if name.startswith(incomplete))


def _config(context: click.Context) -> config.Config | None:
    try:
        return config.load(Path(context.params.get("config_path") or config.DEFAULT_PATH))
    except StorebootError:
        return None


def _groups(context: click.Context) -> set[str]:
    loaded = _config(context)
    return set(loaded.groups) if loaded is not None else set()


def _hosts(context: click.Context) -> set[str]:
    loaded = _config(context)
    if loaded is None:
        return set()
    found = _asked(context, lambda known: {host.name for host in known.registry.all()})
    return found if found is not None else set(loaded.hosts)


def _asked(context: click.Context, ask: Callable[[Inventory], Found]) -> Found | None:
    """Return what the inventory knows, or None if it cannot be opened."""
    loaded = _config(context)
    if loaded is None:
        return None
    try:
        database = loaded.server.state_directory / "storeboot.sqlite"
        if loaded.database.url is None and not database.exists():
            return None
        with opened(loaded, SECONDS) as inventory:
            return ask(inventory)
    except (StorebootError, OSError):
        return None
