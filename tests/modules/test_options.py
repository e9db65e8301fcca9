"""The server module's options and the schema of the configuration file say the same."""

from __future__ import annotations

import json
from typing import Any

import pytest

from modules.worlds import HERE, nix
from storeboot.config import BootSettings, Config

OWN = {"enable", "package", "openFirewall", "configFile", "retention.keep", "retention.dates"}
TABLES = {"networks": "NetworkSection", "groups": "SettingsSection", "hosts": "HostSection"}
# What the module knows better than the file does.
SUPPLIED = {"http.listen", "nfs.listen"}


@pytest.fixture(scope="module")
def options() -> dict[str, dict[str, Any]]:
    found = nix(f"import {HERE}/options.nix")
    start = "services.storeboot."
    return {
        each["name"].removeprefix(start): each for each in found if each["name"].startswith(start)
    }


def schema() -> dict[str, dict[str, Any]]:
    """Settings by their dotted names, a table's values below <name>."""
    document = Config.model_json_schema()
    sections, found = document["$defs"], {}
    for name, value in document["properties"].items():
        table = TABLES.get(name)
        if table is not None:
            found[name] = value
        prefix = f"{name}.<name>" if table else name
        section = sections[table or value["$ref"].rpartition("/")[2]]
        for setting, inner in section["properties"].items():
            found[f"{prefix}.{setting}"] = inner
    return found


def test_every_setting_is_an_option_and_no_other(options: dict[str, dict[str, Any]]) -> None:
    assert options.keys() - OWN == schema().keys()


def is_unset_by_default(name: str, setting: dict[str, Any]) -> bool:
    """Whether its default is what counts if no layer sets it, which an option must tell apart."""
    layer, _, last = name.rpartition(".")
    is_layer = layer in ("defaults", "groups.<name>", "hosts.<name>")
    return is_layer and last in BootSettings.model_fields and setting["default"] not in (None, [])


def test_descriptions_defaults_and_choices_are_the_same(
    options: dict[str, dict[str, Any]],
) -> None:
    for name, setting in schema().items():
        option = options[name]
        said, wanted = option.get("default"), setting.get("default")
        words = setting["description"]
        if is_unset_by_default(name, setting):
            words, wanted = f"{words} If unset: `{json.dumps(wanted)}`.", None
        assert option["description"] == words, name
        if name not in SUPPLIED and "default" in setting:
            if isinstance(wanted, str):
                assert said == f'"{wanted}"', name
            elif wanted is None:
                assert said == "null", name
            elif wanted in ([], {}):
                assert said in ("[]", "{}"), name
        for choice in setting.get("enum", ()):
            assert f'"{choice}"' in option["type"], name


def test_every_option_of_ours_is_described() -> None:
    for each in nix(f"import {HERE}/options.nix"):
        assert len(each["description"]) > 10, each["name"]
