"""`storeboot serve`."""

from __future__ import annotations

from pathlib import Path

import click

from storeboot import config
from storeboot.cli.options import config_option, say
from storeboot.hosts.host import Host
from storeboot.serve import daemon, loop, server


@click.command(short_help="Run the server.")
@config_option
@click.option("--dry-run", is_flag=True, help="Check the configuration file, and do not serve.")
def serve(config_path: Path, dry_run: bool) -> None:
    """Serve boot scripts, kernels, initrds and the store to machines, until stopped.

    Ctrl-C and SIGTERM end the server cleanly; running machines wait for its next start. SIGHUP
    makes it read the configuration again. Settings that only a restart can change stay as they
    were, and the log names them.
    """
    loaded = config.load(config_path)
    for name, section in loaded.hosts.items():
        Host.from_config(name, section, loaded)  # with its group and the defaults it may be wrong
    if dry_run:
        say(f"{config_path} is valid: {len(loaded.hosts)} hosts")
        return
    serving = daemon.serve(lambda: config.load(config_path), say)
    loop.run(serving, nfs=server.worker_count(loaded) == 0)
