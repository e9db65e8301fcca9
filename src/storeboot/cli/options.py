"""Options that several commands share."""

from __future__ import annotations

from pathlib import Path

import click

from storeboot.config import DEFAULT_PATH, Config

config_option = click.option(
    "-c",
    "--config",
    "config_path",
    type=click.Path(path_type=Path, dir_okay=False),
    default=DEFAULT_PATH,
    show_default=True,
    help="The configuration file.",
)
json_option = click.option("--json", "as_json", is_flag=True, help="Print JSON.")


def say(text: str) -> None:
    """Progress, on stderr."""
    click.echo(text, err=True)


network_option = click.option(
    "--network", help="Use the server's address on this network of the configuration."
)


def own_address(loaded: Config, network: str | None) -> str:
    """The server's address on that network, "" for none; a usage error where there is no such."""
    if network is None:
        return ""
    if network not in loaded.networks:
        known = ", ".join(sorted(loaded.networks)) or "none"
        raise click.UsageError(f"no network {network!r}; networks are: {known}")
    return loaded.networks[network].own
