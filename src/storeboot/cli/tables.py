"""Tables and numbers for people to read, the same on a terminal and in a pipe."""

from __future__ import annotations

import unicodedata
from collections.abc import Sequence
from datetime import UTC, datetime

import click

from storeboot.hosts import words

_LONGEST = 4096  # characters of a cell
_WIDEST = 100  # columns; a longer cell does not widen the others of its column


def plain(text: str) -> str:
    """Return text from machines or people as one line for a terminal."""
    return words.line(text, _LONGEST)


def print_table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
    """Print rows below a head. Cells may contain anything: escapes and line feeds are removed.

    Lines are not shortened: a terminal that is too narrow wraps them, so that a store path can be
    copied as a whole.
    """
    lines = [[plain(cell) for cell in row] for row in (head, *rows)]
    widths = [min(_WIDEST, max(map(_width, column))) for column in zip(*lines, strict=True)]
    for line in lines:
        cells = (
            cell + " " * (width - _width(cell)) for cell, width in zip(line, widths, strict=True)
        )
        click.echo("  ".join(cells).rstrip())


def _width(text: str) -> int:
    """Return how many columns of a terminal a text takes (UAX #11)."""
    return sum(map(_columns, text))


def _columns(character: str) -> int:
    if unicodedata.category(character) in ("Mn", "Me"):  # drawn over the previous one
        return 0
    return 2 if unicodedata.east_asian_width(character) in "FW" else 1


def duration(seconds: float) -> str:
    """Return a rounded duration: 4 s, 3 min, 2 h, 5 d."""
    for size, unit in ((86400, "d"), (3600, "h"), (60, "min")):
        if seconds >= 2 * size:
            return f"{seconds / size:.0f} {unit}"
    return f"{seconds:.0f} s"


def clock(at: float) -> str:
    """Return a time in UTC, given in seconds since 1970."""
    return datetime.fromtimestamp(at, UTC).strftime("%Y-%m-%d %H:%M:%S UTC")


def mebibytes(size: int) -> str:
    return f"{size / (1 << 20):.1f} MiB"
