"""Tables and numbers for people: plain text where stdout is no terminal."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from datetime import UTC, datetime

import click
from rich.console import Console
from rich.table import Table
from rich.text import Text

from storeboot.hosts import words

_LONGEST = 4096  # characters of a cell


def plain(text: str) -> str:
    """One line of what machines and people have said, for a terminal."""
    return words.line(text, _LONGEST)


def print_table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
    """Print rows below a head. Cells are data, whatever is in them: no markup, no escapes."""
    rows = [[plain(cell) for cell in row] for row in rows]
    if sys.stdout.isatty():
        table = Table(*head, box=None, pad_edge=False)
        for row in rows:
            table.add_row(*map(Text, row))
        Console().print(table)
        return
    widths = [max(len(row[at]) for row in (head, *rows)) for at in range(len(head))]
    for row in (head, *rows):
        cells = (cell.ljust(width) for cell, width in zip(row, widths, strict=True))
        click.echo("  ".join(cells).rstrip())


def duration(seconds: float) -> str:
    """Two figures' worth: 4 s, 3 min, 2 h, 5 d."""
    for size, unit in ((86400, "d"), (3600, "h"), (60, "min")):
        if seconds >= 2 * size:
            return f"{seconds / size:.0f} {unit}"
    return f"{seconds:.0f} s"


def clock(at: float) -> str:
    return datetime.fromtimestamp(at, UTC).strftime("%Y-%m-%d %H:%M:%S UTC")


def mebibytes(size: int) -> str:
    return f"{size / (1 << 20):.1f} MiB"
