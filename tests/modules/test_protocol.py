"""What the client module says to kernel, systemd and agent, held against the protocol."""

from __future__ import annotations

from typing import Any

import pytest

from modules.test_client import NATIVE
from modules.worlds import World
from storeboot.protocol.mounting import file_system, mount_options
from storeboot.protocol.parameters import Parameter
from storeboot.protocol.units import DIRECTORY, UNITS

RELATIONS = ("before", "after", "conflicts", "requires", "bindsTo", "wantedBy")


@pytest.mark.parametrize("version", ["3", "4.1", "4.2"])
def test_mount_options_are_those_of_the_initrd(world: World, version: str) -> None:
    """But for the machine's own address, which nobody knows when a system is built."""
    found = world(NATIVE + f'storeboot.client.native.nfsVersion = "{version}";')
    lower = found["fileSystems"]["/nix/.ro-store"]
    # nixpkgs adds options of its own, which are no kernel's.
    options = {each for each in lower["options"] if not each.startswith("x-")}
    assert options == set(mount_options(version, "192.168.1.1", 2049))
    assert lower["fsType"] == file_system(version)


def test_units_are_those_of_the_initrd(world: World) -> None:
    services = world(NATIVE)["services"]
    own = {"storeboot-prepare", "storeboot-agent"}  # the initrd does without
    assert {f"{name}.service" for name in services.keys() - own} == {unit.name for unit in UNITS}
    for unit in UNITS:
        service = services[unit.name.removesuffix(".service")]
        assert service["description"] == unit.description
        assert _settings(service["unitConfig"]).items() >= unit.unit.items() - _relations(unit.unit)
        assert _settings(service["serviceConfig"]) == unit.service
        expected = {**{each[0].lower() + each[1:]: other for each, other in unit.relations.items()},
                    "wantedBy": unit.target}  # fmt: skip
        assert {each: " ".join(service[each]) for each in RELATIONS if service[each]} == expected


def _relations(settings: dict[str, str]) -> set[tuple[str, str]]:
    return {
        (name, value) for name, value in settings.items() if name[0].lower() + name[1:] in RELATIONS
    }


def _settings(settings: dict[str, Any]) -> dict[str, str]:
    """As systemd.syntax(7) writes them."""
    words = {True: "yes", False: "no"}
    return {
        name: words[value] if isinstance(value, bool) else str(value)
        for name, value in settings.items()
    }


def test_the_agent_starts_where_the_command_line_names_a_server(world: World) -> None:
    services = world(NATIVE)["services"]
    conditions = services["storeboot-prepare"]["unitConfig"]
    assert conditions["ConditionKernelCommandLine"] == Parameter.URL
    assert conditions["ConditionPathExists"] == f"!{DIRECTORY}"
    assert services["storeboot-agent"]["serviceConfig"]["ExecStart"].startswith(f"{DIRECTORY}/bin")
