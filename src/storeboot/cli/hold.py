"""`storeboot hold` and `storeboot release`."""

from __future__ import annotations

import time
from pathlib import Path

import click

from storeboot import config
from storeboot.cli.names import complete_targets
from storeboot.cli.options import config_option, say
from storeboot.deploy.inventory import opened


@click.command(short_help="Freeze a host: no deployments, no reboot requests.")
@click.argument("target", metavar="HOST|GROUP", shell_complete=complete_targets)
@click.option(
    "--reason", default="by hand", show_default=True, help="Reason, shown to anyone who asks."
)
@config_option
def hold(target: str, reason: str, config_path: Path) -> None:
    """Hold HOST, or every host of GROUP, until `storeboot release`.

    While a host is held, deploy, rollback and confirm are refused, rollouts skip it, and a system
    that the configuration declares for it waits. Its machine boots the same generation as before. A
    test that has not begun is dropped.
    """
    with opened(config.load(config_path)) as inventory:
        for host in inventory.registry.of(target):
            inventory.rollouts.hold(host.name, reason, time.time())
            say(f"{host.name} is held: {reason}")


@click.command(short_help="End a hold.")
@click.argument("target", metavar="HOST|GROUP", shell_complete=complete_targets)
@config_option
def release(target: str, config_path: Path) -> None:
    """End the hold of HOST, or of every host of GROUP."""
    with opened(config.load(config_path)) as inventory:
        for host in inventory.registry.of(target):
            was = inventory.rollouts.release(host.name)
            say(f"{host.name} {'is released' if was else 'was not held'}")
