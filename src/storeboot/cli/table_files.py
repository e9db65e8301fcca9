"""Reads hosts from a CSV file, as spreadsheets write it."""

from __future__ import annotations

import csv
import difflib
import io
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from storeboot.config import HostSection, listed, read_text, settings_of
from storeboot.errors import StorebootError
from storeboot.hosts.registry import SettingsError, read_section

_NAME = "name"
_HINT = "the first line names the columns, and one of them is `name`"
_SETTINGS = "docs/reference/configuration.md has all settings"
_DELIMITERS = (",", ";", "\t")  # spreadsheets write `;` where the comma is in numbers
# Firmware puts blanks into these. Without quotes, such a cell is one value.
_WITH_BLANKS = frozenset({"serial", "label"})
_VALUE = re.compile(r'(?:[^\s"]|"[^"]*")+')  # up to a blank outside quotes


@dataclass(frozen=True, slots=True)
class HostTable:
    """Hosts by name, and where a file has each, for messages: `hosts.csv line 7`."""

    sections: dict[str, HostSection]
    places: dict[str, str] | None


def read_csv(table: Path) -> HostTable:
    """Return the hosts of a CSV file, each with the settings in its row.

    Raises StorebootError with every fault and its line.
    """
    sections: dict[str, HostSection] = {}
    places: dict[str, str] = {}
    wrong: list[str] = []
    for line, row in _rows(table):
        name = row.pop(_NAME, "")
        if not name:
            wrong.append(f"line {line}: the host has no name")
        elif name in places:
            wrong.append(f"line {line}: {name!r} is already on {places[name]}")
        else:
            places[name] = f"line {line}"
            try:
                sections[name] = read_section(name, {key: _cell(key, row[key]) for key in row})
            except SettingsError as error:
                wrong += [f"line {line}: host {name!r}: {each}" for each in error.faults]
    if len(wrong) == 1:
        raise StorebootError(f"{table} {wrong[0]}", _SETTINGS)
    if wrong:
        raise StorebootError(listed(str(table), wrong), _SETTINGS)
    if not sections:
        raise StorebootError(f"{table} has no hosts", _HINT)
    return HostTable(sections, {name: f"{table} {place}" for name, place in places.items()})


def _rows(table: Path) -> Iterator[tuple[int, dict[str, str]]]:
    """Yield each row with its line: what is not empty, by column."""
    text = read_text(table)
    rows = csv.reader(io.StringIO(text, newline=""), delimiter=_delimiter(text), strict=True)
    columns: list[str] = []
    try:
        for cells in rows:
            values = [cell.strip() for cell in cells]
            if not any(values):
                continue
            if not columns:
                columns = _columns(table, values)
                continue
            if any(values[len(columns) :]):
                raise StorebootError(
                    f"{table} line {rows.line_num}: more fields than columns", _HINT
                )
            pairs = zip(columns, values, strict=False)
            yield rows.line_num, {column: value for column, value in pairs if value}
    except csv.Error as error:
        raise StorebootError(f"{table} line {rows.line_num}: {error}", _HINT) from None


def _delimiter(text: str) -> str:
    """Return what separates the columns: what occurs most often in the first line."""
    head = next((line for line in text.splitlines() if line.strip()), "")
    return max(_DELIMITERS, key=head.count)


def _columns(table: Path, head: list[str]) -> list[str]:
    """Return the settings that the columns are for; raise StorebootError for anything else."""
    while head and not head[-1]:
        head = head[:-1]
    columns = [cell.lower().replace("-", "_").replace(" ", "_") for cell in head]
    known = {_NAME, *settings_of(HostSection)}
    for cell, column in zip(head, columns, strict=True):
        if column not in known:
            alike = difflib.get_close_matches(column, known, n=1)
            meant = (
                f"did you mean {alike[0]}?" if alike else f"there are {', '.join(sorted(known))}"
            )
            raise StorebootError(f"{table}: there is no column {cell!r}; {meant}", _HINT)
        if columns.count(column) > 1:
            raise StorebootError(f"{table}: the column {cell!r} is there twice", _HINT)
    if _NAME not in columns:
        raise StorebootError(f"{table} has no column `name`", _HINT)
    return columns


def _cell(name: str, value: str) -> str | list[str]:
    """Return the value of a setting, or its values if it can have several."""
    if not settings_of(HostSection)[name].several:
        return value
    if name in _WITH_BLANKS and '"' not in value:
        return [value]
    return [_unquoted(each) for each in _VALUE.findall(value)]


def _unquoted(value: str) -> str:
    """Return a value without quotes around all of it; quotes in `dyndbg="+p"` are the kernel's."""
    whole = len(value) > 1 and value[0] == value[-1] == '"' and value.count('"') == 2
    return value[1:-1] if whole else value
