"""Finds what on this server changes store paths in place while machines have them open.

storeboot itself never does. Nix's optimisation replaces files with hard links, and a repair removes
a whole path for as long as it takes to build it again.
"""

from __future__ import annotations

import json
from pathlib import Path

from storeboot.errors import StorebootError
from storeboot.process import run

_TIMERS = ("nix-optimise.timer",)  # nix.optimise.automatic
_WANTED = Path("/etc/systemd/system/timers.target.wants")


def hazards(wanted: Path = _WANTED) -> list[str]:
    """Return the hazards, each as text with its cure."""
    found = []
    if _settings().get("auto-optimise-store") is True:
        found.append(
            "Nix replaces files in the store with hard links while machines use them: set "
            "auto-optimise-store = false (nix.settings.auto-optimise-store)"
        )
    found += [
        (
            f"{timer} replaces files in the store while machines use them: set "
            "nix.optimise.automatic = false"
        )
        for timer in _TIMERS
        if (wanted / timer).is_symlink()
    ]
    return found


def _settings() -> dict[str, object]:
    """Return Nix's own settings; empty if there is no such command."""
    try:
        text = run(["nix", "--extra-experimental-features", "nix-command", "show-config", "--json"])
        return {name: each.get("value") for name, each in json.loads(text).items()}
    except (StorebootError, ValueError, AttributeError):
        return {}
