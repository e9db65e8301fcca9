"""The hosts' generations: `profiles/HOST/` contains a Nix profile named `system`."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

from storeboot.nix.profiles import Profile
from storeboot.nix.store import Store

HOST = re.compile(r"[a-z0-9]([a-z0-9-]*[a-z0-9])?")


@dataclass(frozen=True, slots=True)
class HostProfiles:
    """The profiles in one directory, by host."""

    directory: Path

    def of(self, store: Store, host: str) -> Profile:
        """Return the profile of a host, which need not exist yet."""
        return Profile(store, self.directory / host / "system")

    def hosts(self) -> list[str]:
        """Return the names of the hosts that have, or have had, generations."""
        return sorted(
            place.name
            for place in self.directory.iterdir()
            if HOST.fullmatch(place.name) and place.is_dir()
        )
