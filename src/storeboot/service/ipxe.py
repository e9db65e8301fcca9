"""The iPXE programs of this server, which firmware fetches over HTTP or TFTP."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from storeboot.dhcp.firmware import find_programs


class IpxePrograms:
    """By the name under which firmware asks for them; none before they were looked for."""

    def __init__(self, given: dict[str, Path]) -> None:
        """`given` are the setting `dhcp.ipxe`."""
        self._given = given
        self._found: Mapping[str, Path] = {}

    def find(self) -> dict[str, Path]:
        """Look for them; blocking. ConfigError if one that was given is not there."""
        found = find_programs(self._given)
        self._found = found
        return found

    def file(self, name: str) -> Path | None:
        return self._found.get(name)
