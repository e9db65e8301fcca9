"""Every setting as an option and as a column, shown as it was given."""

from __future__ import annotations

import csv
import json
from pathlib import Path
from typing import Any

import pytest

from integration.deploying import storeboot
from integration.test_cli import complete
from storeboot.config import HostSection, Setting, settings_of

NAMES = sorted(settings_of(HostSection).keys() - {"system", "group"})
SETTINGS = [settings_of(HostSection)[name] for name in NAMES]


def value(setting: Setting) -> Any:
    """One that it may have, other than its default."""
    choices = [True, False] if setting.kind is bool else list(setting.choices)
    some = [*choices, *setting.examples]
    return next(each for each in some if each != setting.default)


def option(setting: Setting, given: Any) -> list[str]:
    if setting.kind is bool:
        return [f"--{setting.option}" if given else f"--no-{setting.option}"]
    each = given if setting.several else [given]
    return [word for one in each for word in (f"--{setting.option}", one)]


def column(given: Any) -> str:
    if isinstance(given, bool):
        return str(given).lower()
    return " ".join(given) if isinstance(given, list) else given


def shown(path: Path, name: str) -> dict[str, Any]:
    document: dict[str, Any] = json.loads(storeboot(path, "host", "show", name, "--json"))
    return document


def test_every_setting_is_an_option_a_column_and_shown(path: Path, tmp_path: Path) -> None:
    given = {setting.name: value(setting) for setting in SETTINGS}
    words = [word for setting in SETTINGS for word in option(setting, given[setting.name])]
    storeboot(path, "host", "add", "lab2", *words)
    by_option = shown(path, "lab2")
    matchers = {name: given.pop(name) for name in ("mac", "uuid", "serial", "label")}
    assert by_option["matchers"] == sorted(each for some in matchers.values() for each in some)
    assert given.items() <= by_option.items()
    lines = storeboot(path, "host", "show", "lab2").splitlines()
    assert {line.split()[0] for line in lines} == set(by_option)

    storeboot(path, "host", "remove", "lab2")
    table = tmp_path / "hosts.csv"
    with table.open("w", newline="") as file:
        rows = csv.writer(file)
        rows.writerow(["name", *given, *matchers])
        rows.writerow(["lab2", *map(column, given.values()), *map(column, matchers.values())])
    storeboot(path, "host", "add", "--csv", table)
    assert shown(path, "lab2") == by_option

    unset = [word for name in given for word in ("--unset", name.replace("_", "-"))]
    storeboot(path, "host", "set", "lab2", *unset)
    plain = shown(path, "lab2")
    for setting in SETTINGS:
        if setting.name in given and setting.name not in ("hostname", "nfs_version"):
            default = list(setting.default) if setting.several else setting.default
            assert plain[setting.name] == default, setting.name


@pytest.mark.parametrize(
    "setting", [each for each in SETTINGS if each.choices], ids=lambda s: s.name
)
def test_choices_are_completed(setting: Setting) -> None:
    assert complete("host", "set", "lab1", f"--{setting.option}", "") == list(setting.choices)


def test_settings_to_take_away_are_completed() -> None:
    assert complete("host", "set", "lab1", "--unset", "overlay-") == [
        "overlay-label",
        "overlay-size",
    ]
