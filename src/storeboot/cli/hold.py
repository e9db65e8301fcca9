"""`storeboot hold` and `storeboot release`."""

from __future__ import annotations

import time
from pathlib import Path

import click

from storeboot import config
from storeboot.cli.names import complete_targets
from storeboot.cli.options import config_option, say
from storeboot.cli.tables import plain
from storeboot.deploy.inventory import opened


@click.command(short_help="Let nothing change what a host boots, or ask it to go down.")
@click.argument("target", metavar="HOST|GROUP", shell_complete=complete_targets)
@click.option("--reason", default="by hand", show_default=True, help="Why; told to who asks.")
@config_option
def hold(target: str, reason: str, config_path: Path) -> None:
    """Hold HOST, or every host of GROUP, until `storeboot release`.

    Deploying to it, rolling it back and confirming its test are refused, rollouts pass it over, and
    what the configuration declares for it waits. Its machine boots what it did before; a test that
    has not begun is taken back.
    """
    with opened(config.load(config_path)) as inventory:
        for host in inventory.registry.of(target):
            inventory.rollouts.hold(host.name, reason, time.time())
            say(plain(f"{host.name} is held: {reason}"))


@click.command(short_help="End a hold.")
@click.argument("target", metavar="HOST|GROUP", shell_complete=complete_targets)
@config_option
def release(target: str, config_path: Path) -> None:
    """Let HOST, or every host of GROUP, be changed again."""
    with opened(config.load(config_path)) as inventory:
        for host in inventory.registry.of(target):
            was = inventory.rollouts.release(host.name)
            say(f"{host.name} {'is released' if was else 'was not held'}")
