"""Host settings as options of `storeboot host` and columns of a CSV file, from the schema."""

from __future__ import annotations

import csv
import io
from collections.abc import Callable
from pathlib import Path
from typing import Any

import click

from storeboot.config import BootSettings, HostSection, Setting, settings_of
from storeboot.errors import StorebootError

# Deployed, where it is given to a command, and not kept as a setting.
_DEPLOYED = "system"


def setting_options(command: Callable[..., None]) -> Callable[..., None]:
    """Give a command an option for each setting: who the machine is, then how it boots."""
    settings = [each for each in settings_of(HostSection).values() if each.name != _DEPLOYED]
    settings.sort(key=lambda each: each.name in BootSettings.model_fields)
    for setting in reversed(settings):
        command = _option(setting)(command)
    return command


def _option(setting: Setting) -> Callable[[Callable[..., None]], Callable[..., None]]:
    name, text = f"--{setting.option}", setting.summary
    if setting.kind is bool:
        return click.option(f"{name}/--no-{setting.option}", setting.name, default=None, help=text)
    return click.option(
        name,
        setting.name,
        type=click.Choice(setting.choices) if setting.choices else str,
        multiple=setting.several,
        help=f"{text} May be repeated." if setting.several else text,
    )


def given(values: dict[str, Any]) -> dict[str, Any]:
    """The options that a command was given."""
    return {name: value for name, value in values.items() if value not in (None, "", ())}


def complete_settings(
    _context: click.Context, _parameter: click.Parameter, incomplete: str
) -> list[str]:
    """Settings as `--unset` takes them."""
    names = (name.replace("_", "-") for name in settings_of(HostSection))
    return sorted(name for name in names if name.startswith(incomplete))


def read_csv(table: Path) -> dict[str, dict[str, object]]:
    """Hosts by name, each with what its row sets; several values of a setting stand between blanks.

    Raises StorebootError for a file that is no such table. Columns are checked with the settings.
    """
    rows: dict[str, dict[str, object]] = {}
    hint = "the first line names the columns, and one of them is `name`"
    try:
        text = table.read_text(encoding="utf-8-sig")
        lines = list(enumerate(csv.DictReader(io.StringIO(text), strict=True), 2))
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise StorebootError(f"cannot read {table}: {error}", hint) from None
    for line, row in lines:
        if None in row:
            raise StorebootError(f"{table} line {line}: more fields than columns", hint)
        name = (row.pop("name", "") or "").strip()
        if not name or name in rows:
            fault = f"{name!r} occurs twice" if name else "the host has no name"
            raise StorebootError(f"{table} line {line}: {fault}", hint)
        rows[name] = _row(row)
    return rows


def _row(row: dict[str, str]) -> dict[str, object]:
    several = {name for name, setting in settings_of(HostSection).items() if setting.several}
    return {
        name: value.split() if name in several else value.strip()
        for name, value in row.items()
        if value and value.strip()
    }
