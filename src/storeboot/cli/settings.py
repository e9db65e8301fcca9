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

# Not kept as a setting: a command that gets it deploys it.
_DEPLOYED = "system"


def setting_options(command: Callable[..., None]) -> Callable[..., None]:
    """Give a command an option for each setting: matchers first, then how the machine boots."""
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
    """Return the options that a command was given."""
    return {name: value for name, value in values.items() if value not in (None, "", ())}


def complete_settings(
    _context: click.Context, _parameter: click.Parameter, incomplete: str
) -> list[str]:
    """Complete the settings that `--unset` accepts."""
    names = (name.replace("_", "-") for name in settings_of(HostSection))
    return sorted(name for name in names if name.startswith(incomplete))


def read_csv(table: Path) -> dict[str, dict[str, object]]:
    """Return the hosts of a CSV file by name, each with the settings in its row.

    Several values of one setting are separated by blanks. Raises StorebootError if the file is not
    such a table. Columns are checked together with the settings.
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
