"""The `storeboot` command."""

from __future__ import annotations

import signal
import sys
from importlib import import_module
from types import FrameType

import click
from typing_extensions import override

from storeboot import __version__, log
from storeboot.errors import StorebootError

INTERRUPTED = 130

# Where each command is: the module in `storeboot.cli`, and its name there.
COMMANDS = {
    "boot-media": ("boot_media", "boot_media"),
    "completion": ("completion", "completion"),
    "confirm": ("deploy", "confirm"),
    "demo": ("demo", "demo"),
    "deploy": ("deploy", "deploy"),
    "dhcp-snippet": ("dhcp_snippet", "dhcp_snippet"),
    "dnsmasq": ("dnsmasq", "dnsmasq"),
    "gc": ("gc", "gc"),
    "generations": ("deploy", "generations"),
    "hold": ("hold", "hold"),
    "host": ("host", "host"),
    "pack": ("pack", "pack"),
    "release": ("hold", "release"),
    "rollback": ("deploy", "rollback"),
    "rollout": ("rollout", "rollout"),
    "serve": ("serve", "serve"),
    "status": ("status", "status"),
    "timeline": ("status", "timeline"),
}


class _Commands(click.Group):
    """Imports a command when it is run: the others would cost each of them a second."""

    @override
    def list_commands(self, ctx: click.Context) -> list[str]:
        return sorted(COMMANDS)

    @override
    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name not in COMMANDS:
            return None
        module, name = COMMANDS[cmd_name]
        command: click.Command = getattr(import_module(f"storeboot.cli.{module}"), name)
        return command


@click.group(
    cls=_Commands,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100},
)
@click.version_option(__version__, prog_name="storeboot")
@click.option(
    "-v", "--verbose", is_flag=True, help="Log more: every command that runs, and more packets."
)
def cli(verbose: bool) -> None:
    """Boot diskless NixOS machines from one shared, read-only Nix store."""
    log.set_up(verbose=verbose)


def main() -> None:
    """Errors that the operator can act on end in two lines and exit status 1."""
    signal.signal(signal.SIGTERM, _end)
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
    except click.ClickException as error:
        error.show()
        sys.exit(error.exit_code)
    except (KeyboardInterrupt, click.Abort):
        click.echo("interrupted", err=True)
        sys.exit(INTERRUPTED)
    except Exception as error:
        if not _is_of_database(error):
            raise
        reason = str(getattr(error, "orig", None) or error).strip().partition("\n")[0]
        click.echo(f"error: the database failed: {reason}", err=True)
        click.echo("hint: try again; what was not finished was not done", err=True)
        sys.exit(1)


def _end(_number: int, _frame: FrameType | None) -> None:
    """Do at SIGTERM what a command does at Ctrl-C.

    Then asyncio cancels what runs and waits until it has tidied up, so no machine stays behind.
    """
    if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:  # a shell's job in the background
        raise KeyboardInterrupt
    signal.raise_signal(signal.SIGINT)


def _is_of_database(error: Exception) -> bool:
    """Return whether SQLAlchemy has raised this; a command that did not import it did not."""
    known = sys.modules.get("sqlalchemy.exc")
    return known is not None and isinstance(error, known.SQLAlchemyError)
