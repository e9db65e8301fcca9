"""Units that the client module was evaluated to, as files for the demo system."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from e2e.systemd_initrd import fstab, network
from storeboot.vm.demo.unpack import Tree

SCRIPTS = Path(__file__).parents[2] / "src/storeboot/initrd/scripts"
BUSYBOX = "/nix/store/00000000000000000000000000000000-busybox-static"  # of the stand-in


def write(directory: Path, found: Mapping[str, Any]) -> tuple[Tree, Tree]:
    """The directory of units, and the agent's scripts, each to be a store path."""
    directory.mkdir()
    (directory / "fstab").write_text(fstab(found["fileSystems"]))
    for name, each in found["networks"].items():
        (directory / f"{name}.network").write_text(network(each))
    for name, service in found["services"].items():
        (directory / f"{name}.service").write_text(_unit(service))
    return Tree("storeboot-units", directory), Tree("storeboot-agent", SCRIPTS)


def _unit(service: Mapping[str, Any]) -> str:
    unit = {**service["unitConfig"]}
    for key in ("after", "before", "bindsTo", "conflicts"):
        if service[key]:
            unit[key[0].upper() + key[1:]] = service[key]
    lines = ["[Unit]", *_settings(unit), "[Service]", *_settings(service["serviceConfig"])]
    lines += [f"# wanted by {target}" for target in service["wantedBy"]]
    return "".join(line + "\n" for line in lines)


def _settings(settings: Mapping[str, Any]) -> list[str]:
    return [f"{name}={_value(value)}" for name, value in settings.items()]


def _value(value: Any) -> str:
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, list):
        return " ".join(value)
    words = str(value).replace(BUSYBOX, "@busybox@")
    # The scripts are a store path of the machine that evaluates.
    return " ".join(
        "@agent@" + word.partition("-storeboot-agent")[2] if "-storeboot-agent" in word else word
        for word in words.split(" ")
    )
