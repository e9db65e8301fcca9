"""Host settings: each is one field, and everything else follows from it."""

from __future__ import annotations

import json
import re
import tomllib
from dataclasses import fields
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner
from pydantic import ValidationError

from storeboot.cli.host import host as host_commands
from storeboot.config import (
    Config,
    HostSection,
    Setting,
    SettingsSection,
    settings_of,
    told,
)
from storeboot.hosts.host import Host
from storeboot.hosts.registry import read_section
from storeboot.initrd.modules import Needs
from storeboot.process import run

SCRIPTS = Path(__file__).parents[2] / "src/storeboot/initrd/scripts"
MAC = "52:54:00:12:34:56"
LAYERS = settings_of(SettingsSection)
# What settings need beside them.
TOGETHER: dict[str, dict[str, Any]] = {
    "persist_label": {"persist_directories": ["/srv"]},
    "persist_directories": {"persist_label": "state"},
}
each_layer_setting = pytest.mark.parametrize("setting", LAYERS.values(), ids=LAYERS)


def values(setting: Setting) -> list[Any]:
    """Some that it may have."""
    choices = [True, False] if setting.kind is bool else list(setting.choices)
    return [each for each in choices if each != "native"] or list(setting.examples)


def resolved(*layers: dict[str, Any]) -> Host:
    """A host of the defaults, a group and its own settings."""
    defaults, group, own = layers
    document = {
        "server": {"address": "10.0.0.1"},
        "defaults": defaults,
        "groups": {"room": group},
        "hosts": {"lab1": {"mac": [MAC], "group": "room", **own}},
    }
    config = Config.model_validate(document)
    return Host.from_config("lab1", config.hosts["lab1"], config)


def of(host: Host, setting: Setting) -> Any:
    value = getattr(host, setting.name)
    return list(value) if setting.several else str(value) if setting.name == "system" else value


@pytest.mark.parametrize("setting", settings_of(HostSection).values(), ids=lambda each: each.name)
def test_each_setting_is_described_and_has_an_example(setting: Setting) -> None:
    assert values(setting)
    assert re.fullmatch(r"[A-Z].*[^.]\.", setting.summary)
    assert len(setting.summary) < 200


@each_layer_setting
def test_each_setting_may_be_set_in_any_layer_and_left_to_others(setting: Setting) -> None:
    for value in values(setting):
        own = {setting.name: value, **TOGETHER.get(setting.name, {})}
        for at in range(3):
            layers: list[dict[str, Any]] = [{}, {}, {}]
            layers[at] = own
            assert of(resolved(*layers), setting) == value
    unset = of(resolved({}, {}, {}), setting)
    if setting.name not in ("system", "nfs_version"):
        assert unset == (list(setting.default) if setting.several else setting.default)


@each_layer_setting
def test_the_inner_layer_counts_or_all_are_joined(setting: Setting) -> None:
    inner, outer = values(setting)[:2]
    assert inner != outer
    beside = TOGETHER.get(setting.name, {})
    host = resolved({setting.name: outer, **beside}, {}, {setting.name: inner})
    assert of(host, setting) == ([*outer, *inner] if setting.use.joined else inner)


@each_layer_setting
def test_null_and_empty_lists_set_nothing(setting: Setting) -> None:
    """Rows of the database and the NixOS module have them."""
    value, beside = values(setting)[0], TOGETHER.get(setting.name, {})
    nothing: Any = [] if setting.several else None
    host = resolved({setting.name: value, **beside}, {setting.name: nothing}, {})
    assert of(host, setting) == value


def test_persistent_directories_are_joined_outermost_first_and_each_once() -> None:
    host = resolved(
        {"persist_directories": ["/var/lib"], "persist_label": "a"},
        {"persist_directories": ["/home/"]},
        {"persist_directories": ["/var/lib/private", "/home"], "persist_label": "b"},
    )
    assert host.persist_directories == ("/var/lib", "/home", "/var/lib/private")
    assert host.persist_label == "b"


@pytest.mark.parametrize(
    "setting", [each for each in LAYERS.values() if each.use.answered], ids=lambda each: each.name
)
def test_what_the_machine_is_told_is_one_line(setting: Setting) -> None:
    """More than a word would be a line of the answer that somebody else has written."""
    evil = "x\nkey=evil"
    with pytest.raises(ValidationError):
        HostSection.model_validate({setting.name: [evil] if setting.several else evil})


def test_every_setting_of_the_answer_is_a_fact_to_the_scripts(tmp_path: Path) -> None:
    host = resolved(
        {"overlay_label": "scratch", "zram": "25%", "nfs_version": "4.2", "nix_store": "local"},
        {"persist_label": "state", "persist_directories": ["/var/lib", "/home"]},
        {"ssh_host_key": False, "overlay_size": "8G"},
    )
    answer = {"boot": "0" * 16, **host.answered()}
    lines = "".join(f"{name}={value}\n" for name, value in answer.items())
    (tmp_path / "answer").write_text(lines)
    script = '. "$1/common.sh"; . "$1/begin.sh"; SB=$2; read_answer'
    run(["sh", "-euc", script, "sh", SCRIPTS, tmp_path])
    facts = {path.name.removeprefix("fact."): path.read_text().removesuffix("\n")
             for path in tmp_path.glob("fact.*")}  # fmt: skip
    assert answer.items() <= facts.items()
    assert facts["persist_directories"] == "/var/lib:/home"
    assert (facts["ssh_host_key"], facts["zram"]) == ("no", "25%")


def test_no_setting_is_called_as_a_fact_that_scripts_make() -> None:
    text = "".join(path.read_text() for path in SCRIPTS.iterdir())
    made = set(re.findall(r"\bfact ([a-z_]+) ['\"]", text))
    assert {"ip", "mac", "init"} <= made
    assert not made & set(resolved({}, {}, {}).answered())


def test_what_settings_put_into_the_initrd_are_modules_that_it_knows() -> None:
    known = {field.name for field in fields(Needs) if field.type in (bool, "bool")}
    assert {each.use.modules for each in LAYERS.values()} - {""} == known
    assert resolved({}, {}, {}).modules() == set()
    assert resolved({"zram": "1G"}, {}, {"overlay_label": "a"}).modules() == {"zram", "disk"}


def test_told() -> None:
    assert [told(each) for each in (None, True, False, ("a", "b"), (), "x", 7)] == [
        "", "yes", "no", "a:b", "", "x", "7",
    ]  # fmt: skip


@pytest.mark.parametrize("command", ["add", "set"])
def test_the_words_of_the_command_line_are_those_that_they_were(command: str) -> None:
    found = CliRunner().invoke(host_commands, [command, "--help"]).output
    words = (
        "--mac --uuid --serial --label --address --group --hostname --kernel-param --mode "
        "--overlay-size --overlay-label --persist-label --persist-directory --zram --nix-store "
        "--driver --ssh-host-key --no-ssh-host-key --specialisation --menu --no-menu --nfs-version"
    )
    assert set(words.split()) <= set(re.findall(r"--[a-z-]+", found))
    assert "[plain|pack|native]" in found


# As version 0.1 has written them.
TOML = f"""
[server]
address = "10.0.0.1"
[nfs]
version = "4.1"
alias = true
[defaults]
kernel_params = ["quiet"]
overlay_size = "2G"
ssh_host_key = false
persist_label = "state"
persist_directories = ["/var/lib"]
drivers = ["igb"]
[groups.room]
kernel_params = ["splash"]
mode = "plain"
nix_store = "local-overlay"
menu = true
[hosts.lab1]
group = "room"
mac = ["52-54-00-12-34-56"]
uuid = ["ABCDEF01-0000-0000-0000-000000000001"]
serial = ["S1"]
label = ["asset=LAB 7"]
address = ["10.0.0.21"]
hostname = "front"
system = "/nix/store/{"0" * 32}-nixos-system-lab1"
kernel_params = ["splash", "x=1"]
mode = "native"
overlay_label = "scratch"
persist_directories = ["/home/"]
zram = "50%"
drivers = []
specialisation = "gaming"
ssh_host_key = true
menu = false
"""
NULLS = {"overlay_size": None, "nfs_version": None}
ROW = json.dumps({**tomllib.loads(TOML)["hosts"]["lab1"], **NULLS})


@pytest.mark.parametrize("from_row", [False, True])
def test_files_and_rows_of_before_mean_what_they_did(from_row: bool) -> None:
    config = Config.model_validate(tomllib.loads(TOML))
    section = config.hosts["lab1"]
    if from_row:
        section = read_section("lab1", json.loads(ROW))
        kept = section.model_dump_json(exclude_unset=True)
        assert read_section("lab1", json.loads(kept)) == section
    host = Host.from_config("lab1", section, config)
    wanted: dict[str, Any] = {
        "kernel_params": ("quiet", "splash", "splash", "x=1"),
        "mode": "native",
        "overlay_size": "2G",
        "overlay_label": "scratch",
        "persist_label": "state",
        "persist_directories": ("/var/lib", "/home"),
        "zram": "50%",
        "nix_store": "local-overlay",
        "drivers": ("igb",),
        "nfs_version": "4.1",
        "ssh_host_key": True,
        "specialisation": "gaming",
        "menu": False,
        "name": "lab1",
        "system": {"text": f"/nix/store/{'0' * 32}-nixos-system-lab1"},
        "matchers": frozenset({MAC, "abcdef01-0000-0000-0000-000000000001", "S1", "asset=LAB 7"}),
        "macs": (MAC,),
        "addresses": ("10.0.0.21",),
        "hostname": "front",
        "like": None,
        "group": "room",
        "declared": True,
    }
    assert wanted.items() <= host.model_dump().items()
    answer = {
        "overlay_size": "2G",
        "overlay_label": "scratch",
        "persist_label": "state",
        "persist_directories": "/var/lib:/home",
        "zram": "50%",
        "nix_store": "local-overlay",
        "nfs_version": "4.1",
        "ssh_host_key": "yes",
    }
    assert answer.items() <= host.answered().items()
    guest = host.for_guest("52:54:00:00:00:09")
    assert (guest.profile, guest.name, guest.ssh_host_key) == ("lab1", guest.hostname, False)
    assert guest.zram == host.zram


def test_an_unset_host_boots_as_it_did() -> None:
    wanted: dict[str, Any] = {
        "kernel_params": (), "mode": "pack", "overlay_size": "50%", "overlay_label": None,
        "persist_label": None, "persist_directories": (), "zram": None, "nix_store": "local",
        "drivers": (), "nfs_version": "3", "ssh_host_key": True, "specialisation": None,
        "menu": None, "system": None,
    }  # fmt: skip
    assert wanted.items() <= resolved({}, {}, {}).model_dump().items()
