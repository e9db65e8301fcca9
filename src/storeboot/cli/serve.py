"""`storeboot serve`."""

from __future__ import annotations

from pathlib import Path

import click

from storeboot import config
from storeboot.cli.options import config_option, say
from storeboot.deploy import preview
from storeboot.errors import ConfigError
from storeboot.serve import daemon, loop, server


@click.command(short_help="Run the server.")
@config_option
@click.option("--dry-run", is_flag=True,
              help="Check the configuration file and the files that it names, and do not "
                   "serve.")  # fmt: skip
@click.option("--no-files", is_flag=True,
              help="With --dry-run: check the configuration file only, for machines that do not "
                   "have the files that it names.")  # fmt: skip
def serve(config_path: Path, dry_run: bool, no_files: bool) -> None:
    """Serve boot scripts, kernels, initrds and the store to machines, until stopped.

    Ctrl-C and SIGTERM end the server cleanly; running machines wait for its next start. SIGHUP
    makes it read the configuration again. Settings that only a restart can change stay as they
    were, and the log names them.
    """
    if no_files and not dry_run:
        raise click.UsageError("--no-files needs --dry-run")
    loaded = config.load(config_path)
    # A host may be wrong together with its group and the defaults. A file that is missing keeps no
    # server from starting, because machines that run need it.
    faults = preview.faults(loaded, with_files=dry_run and not no_files)
    if faults:
        said = config.listed(str(config_path), [fault.message for fault in faults])
        raise ConfigError(said, faults[0].hint)
    if dry_run:
        count = len(loaded.hosts)
        say(f"{config_path} is valid: {count} host{'' if count == 1 else 's'}")
        return
    serving = daemon.serve(lambda: config.load(config_path), say)
    loop.run(serving, nfs=server.worker_count(loaded) == 0)
