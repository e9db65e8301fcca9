"""The `storeboot` command."""

from __future__ import annotations

import os
import signal
import sys
from contextlib import suppress
from importlib import import_module
from types import FrameType
from typing import NoReturn

import click
from typing_extensions import override

from storeboot import __version__, files, log
from storeboot.errors import StorebootError
from storeboot.hosts import words

INTERRUPTED = 130
COMPLETE = "_STOREBOOT_COMPLETE"  # set by a shell that asks for completions
_LONGEST = 2000  # characters of a line
_AGAIN = "try again; what was not finished was not done"

# Where each command is: its module in `storeboot.cli`, and its name there.
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
    """Imports a command only when it runs: importing all of them would take a second."""

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
    """Run the command. Errors that the operator can act on end in two lines and exit status 1."""
    signal.signal(signal.SIGTERM, _end)
    _open_standard_streams()
    if COMPLETE in os.environ:
        log.set_up(silent=True)  # a line of the log would be taken for a name
    try:
        cli(_arguments(), standalone_mode=False)
    except StorebootError as error:
        _fail(error.message, error.hint)
    except OSError as error:  # a disk that is full, failing or read-only; click ends at EPIPE
        _fail(files.described(error), files.cure(error) or _AGAIN)
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
        _fail(f"the database failed: {reason}", _AGAIN)


def _fail(message: str, hint: str | None) -> NoReturn:
    """End with an error; a terminal that is gone does not matter."""
    with suppress(OSError):
        click.echo(f"error: {_plain(message)}", err=True)
        if hint:
            click.echo(f"hint: {_plain(hint)}", err=True)
    sys.exit(1)


def _plain(text: str) -> str:
    """Return lines for a terminal: a name that was typed wrong may be long or have escapes."""
    return "\n".join(words.line(each, _LONGEST) for each in text.split("\n"))


def _arguments() -> list[str]:
    """Return what was typed, as UTF-8 in every locale.

    Raises StorebootError if it is not UTF-8, which no name of ours is.
    """
    found = []
    for each in map(os.fsencode, sys.argv[1:]):
        try:
            found.append(each.decode())
        except UnicodeDecodeError:
            shown = each.decode(errors="backslashreplace")
            raise StorebootError(f"the argument {shown} is not UTF-8", "type it again") from None
    return found


def _open_standard_streams() -> None:
    """Let standard streams that are closed be /dev/null.

    Otherwise Python has None for them, and files are opened under their numbers.
    """
    for number, name in enumerate(("stdin", "stdout", "stderr")):
        if getattr(sys, name) is None:
            descriptor = os.open(os.devnull, os.O_RDWR)
            if descriptor != number:
                os.dup2(descriptor, number)
                os.close(descriptor)
            setattr(sys, name, os.fdopen(number, "r" if number == 0 else "w"))


def _end(_number: int, _frame: FrameType | None) -> None:
    """Do at SIGTERM what a command does at Ctrl-C.

    asyncio then cancels what is running and waits until it has cleaned up, so that no virtual
    machine is left behind.
    """
    if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:  # a background job of a shell
        raise KeyboardInterrupt
    signal.raise_signal(signal.SIGINT)


def _is_of_database(error: Exception) -> bool:
    """Return whether the error is SQLAlchemy's; a command that did not import it has none."""
    known = sys.modules.get("sqlalchemy.exc")
    return known is not None and isinstance(error, known.SQLAlchemyError)
