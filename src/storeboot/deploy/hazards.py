"""Finds what on this server changes store paths in place while machines have them open.

storeboot itself never does. Nix's optimisation replaces files with hard links, and a repair removes
a whole path for as long as it takes to build it again.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from storeboot.errors import StorebootError
from storeboot.findings import Finding, Level, find
from storeboot.process import run

_WANTED = Path("/etc/systemd/system/timers.target.wants")


@dataclass(frozen=True, slots=True)
class ThisServer:
    """What rules read about this server. Blocking."""

    wanted: Path  # the directory with links to the timers that systemd starts

    def nix_settings(self) -> dict[str, object]:
        """Return Nix's own settings; empty if there is no such command."""
        words = ["--extra-experimental-features", "nix-command", "show-config", "--json"]
        try:
            text = run(["nix", *words])
            return {name: each.get("value") for name, each in json.loads(text).items()}
        except (StorebootError, ValueError, AttributeError):
            return {}


def hazards(wanted: Path = _WANTED) -> tuple[Finding, ...]:
    """Return what the rules find on this server. Each finding is a warning."""
    return find(RULES, ThisServer(wanted))


def server_auto_optimise(server: ThisServer) -> Iterator[Finding]:
    """nix.conf(5), `auto-optimise-store`."""
    if server.nix_settings().get("auto-optimise-store") is True:
        yield Finding(
            "server-auto-optimise", Level.WARNING, "auto-optimise-store",
            "Nix replaces files in the store with hard links while machines use them",
            "set auto-optimise-store = false (nix.settings.auto-optimise-store)",
        )  # fmt: skip


def server_optimise_timer(server: ThisServer) -> Iterator[Finding]:
    """`nix.optimise.automatic` (nixos/modules/services/misc/nix-optimise.nix)."""
    if (server.wanted / "nix-optimise.timer").is_symlink():
        yield Finding(
            "server-optimise-timer", Level.WARNING, "nix.optimise.automatic",
            "nix-optimise.timer replaces files in the store while machines use them",
            "set nix.optimise.automatic = false",
        )  # fmt: skip


RULES = (server_auto_optimise, server_optimise_timer)
