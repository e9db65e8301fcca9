"""Options that several commands share."""

from __future__ import annotations

from pathlib import Path

import click

from storeboot.config import DEFAULT_PATH

config_option = click.option(
    "-c",
    "--config",
    "config_path",
    type=click.Path(path_type=Path, dir_okay=False),
    default=DEFAULT_PATH,
    show_default=True,
    help="The configuration file.",
)
json_option = click.option("--json", "as_json", is_flag=True, help="Print JSON for machines.")


def say(text: str) -> None:
    """Progress, on stderr."""
    click.echo(text, err=True)
