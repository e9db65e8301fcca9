"""Options that several commands share."""

from __future__ import annotations

from pathlib import Path

import click

from storeboot.cli.names import complete_networks
from storeboot.cli.tables import plain
from storeboot.config import DEFAULT_PATH, Config

config_option = click.option(
    "-c",
    "--config",
    "config_path",
    type=click.Path(path_type=Path, readable=False),
    default=DEFAULT_PATH,
    show_default=True,
    help="The configuration file.",
)
ID = click.IntRange(min=1, max=2**63 - 1)  # what SQL calls a big integer
json_option = click.option("--json", "as_json", is_flag=True, help="Print JSON.")


def say(text: str) -> None:
    """Print progress on stderr. The text may contain anything that a machine or a person wrote."""
    click.echo(plain(text), err=True)


wait_for_server_option = click.option(
    "--wait-for-server",
    is_flag=True,
    help="Go on although no server is running: what was asked for waits until one is.",
)


network_option = click.option(
    "--network",
    shell_complete=complete_networks,
    help="Use the server's address on this network of the configuration.",
)


def own_address(loaded: Config, network: str | None) -> str:
    """Return the server's address on that network, or ""; a usage error if there is no such one."""
    if network is None:
        return ""
    if network not in loaded.networks:
        known = ", ".join(sorted(loaded.networks)) or "none"
        raise click.UsageError(f"no network {network!r}; networks are: {known}")
    return loaded.networks[network].own
