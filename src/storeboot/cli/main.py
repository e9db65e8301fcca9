"""The `storeboot` command."""

from __future__ import annotations

import signal
import sys

import click
from sqlalchemy.exc import SQLAlchemyError

from storeboot import __version__, log
from storeboot.cli.boot_media import boot_media
from storeboot.cli.completion import completion
from storeboot.cli.demo import demo
from storeboot.cli.deploy import confirm, deploy, generations, rollback
from storeboot.cli.dhcp_snippet import dhcp_snippet
from storeboot.cli.dnsmasq import dnsmasq
from storeboot.cli.gc import gc
from storeboot.cli.hold import hold, release
from storeboot.cli.host import host
from storeboot.cli.pack import pack
from storeboot.cli.rollout import rollout
from storeboot.cli.serve import serve
from storeboot.cli.status import status, timeline
from storeboot.errors import StorebootError

INTERRUPTED = 130


@click.group(context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100})
@click.version_option(__version__, prog_name="storeboot")
@click.option("-v", "--verbose", is_flag=True, help="Log every command and packet worth a line.")
def cli(verbose: bool) -> None:
    """Boot diskless NixOS machines from one shared, read-only Nix store."""
    log.set_up(verbose=verbose)


COMMANDS = (
    boot_media,
    completion,
    confirm,
    demo,
    deploy,
    dhcp_snippet,
    dnsmasq,
    gc,
    generations,
    hold,
    host,
    pack,
    release,
    rollback,
    rollout,
    serve,
    status,
    timeline,
)
for command in COMMANDS:
    cli.add_command(command)


def main() -> None:
    """Errors that the operator can act on end in two lines and exit status 1."""
    # Asked to end, a command cleans up behind it as on Ctrl-C: no virtual machine stays behind.
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        cli(standalone_mode=False)
    except StorebootError as error:
        click.echo(f"error: {error.message}", err=True)
        if error.hint:
            click.echo(f"hint: {error.hint}", err=True)
        sys.exit(1)
    except OSError as error:  # a disk that is full, failing or read-only
        place = f"{error.filename}: " if error.filename else ""
        click.echo(f"error: {place}{error.strerror or error}", err=True)
        click.echo("hint: try again; what was not finished was not done", err=True)
        sys.exit(1)
    except SQLAlchemyError as error:
        reason = str(getattr(error, "orig", None) or error).strip().partition("\n")[0]
        click.echo(f"error: the database failed: {reason}", err=True)
        click.echo("hint: try again; what was not finished was not done", err=True)
        sys.exit(1)
    except click.ClickException as error:
        error.show()
        sys.exit(error.exit_code)
    except (KeyboardInterrupt, click.Abort):
        click.echo("interrupted", err=True)
        sys.exit(INTERRUPTED)
