"""The iPXE programs that firmware fetches over HTTP or TFTP."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from storeboot.dhcp.firmware import find_programs


class IpxePrograms:
    """The programs, by the name under which firmware asks for them. Empty until `find` is
    called."""

    def __init__(self, given: dict[str, Path]) -> None:
        """`given` is the setting `dhcp.ipxe`."""
        self._given = given
        self._found: Mapping[str, Path] = {}

    def find(self) -> dict[str, Path]:
        """Find the programs and return them; raise ConfigError if a given one is missing.
        Blocking."""
        found = find_programs(self._given)
        self._found = found
        return found

    def file(self, name: str) -> Path | None:
        """Return the program of this name; in capitals or with blanks around it, it is the same."""
        return self._found.get(name.strip().lower())
