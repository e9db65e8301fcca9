"""`storeboot completion`."""

from __future__ import annotations

import click
from click.shell_completion import get_completion_class


@click.command(short_help="Print the completion script for a shell.")
@click.argument("shell", type=click.Choice(["bash", "zsh", "fish"]))
@click.pass_context
def completion(context: click.Context, shell: str) -> None:
    """Print the completion script for SHELL. Source it, or put it where the shell finds it.

    bash: storeboot completion bash > /etc/bash_completion.d/storeboot
    """
    maker = get_completion_class(shell)
    assert maker is not None
    root = context.find_root().command
    click.echo(maker(root, {}, "storeboot", "_STOREBOOT_COMPLETE").source())
