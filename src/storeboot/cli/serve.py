"""`storeboot serve`."""

from __future__ import annotations

from pathlib import Path

import click

from storeboot import config
from storeboot.cli.options import config_option, say
from storeboot.hosts.host import Host
from storeboot.serve import daemon, loop, server


@click.command(short_help="Serve the hosts of a configuration until stopped.")
@config_option
@click.option("--dry-run", is_flag=True, help="Check the configuration file and stop.")
def serve(config_path: Path, dry_run: bool) -> None:
    """Serve boot scripts, kernels, initrds and the store to the hosts of the configuration.

    Ends cleanly on Ctrl-C and SIGTERM. Machines that are running wait for the next start. SIGHUP
    reads the configuration again; what only a restart can change is said and stays as it was.
    """
    loaded = config.load(config_path)
    for name, section in loaded.hosts.items():
        Host.from_config(name, section, loaded)  # with its group and the defaults it may be wrong
    if dry_run:
        say(f"{config_path} is right: {len(loaded.hosts)} hosts")
        return
    serving = daemon.serve(lambda: config.load(config_path), say)
    loop.run(serving, nfs=server.worker_count(loaded) == 0)
