"""Completion of host and group names. It creates nothing, and is silent when it fails."""

from __future__ import annotations

from pathlib import Path

import click

from storeboot import config
from storeboot.deploy.inventory import opened
from storeboot.errors import StorebootError

SECONDS = 1.0  # nobody who has pressed Tab waits longer


def complete_hosts(
    context: click.Context, _parameter: click.Parameter, incomplete: str
) -> list[str]:
    return _starting(incomplete, _hosts(context))


def complete_targets(
    context: click.Context, _parameter: click.Parameter, incomplete: str
) -> list[str]:
    """Complete the names of hosts and groups."""
    loaded = _config(context)
    groups = set(loaded.groups) if loaded is not None else set()
    return _starting(incomplete, _hosts(context) | groups)


def _starting(incomplete: str, names: set[str]) -> list[str]:
    return sorted(name for name in names if name.startswith(incomplete))


def _config(context: click.Context) -> config.Config | None:
    try:
        return config.load(Path(context.params.get("config_path") or config.DEFAULT_PATH))
    except StorebootError:
        return None


def _hosts(context: click.Context) -> set[str]:
    loaded = _config(context)
    if loaded is None:
        return set()
    is_sqlite = loaded.database.url is None
    if is_sqlite and not (loaded.server.state_directory / "storeboot.sqlite").exists():
        return set(loaded.hosts)
    try:
        with opened(loaded, SECONDS) as inventory:
            return {host.name for host in inventory.registry.all()}
    except StorebootError:
        return set(loaded.hosts)
