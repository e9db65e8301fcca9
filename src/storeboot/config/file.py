"""The configuration file: one TOML file, read here and nowhere else."""

from __future__ import annotations

import re
import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Self

from pydantic import Field, ValidationError, model_validator

from storeboot.config.matchers import spellings
from storeboot.config.messages import faults, listed
from storeboot.config.section import DIRECTORY, Section
from storeboot.config.sections import (
    AgentSection,
    BootsSection,
    DatabaseSection,
    DhcpSection,
    HttpSection,
    InitrdSection,
    MachinesSection,
    NetworkSection,
    NfsSection,
    PacksSection,
    ServerSection,
    StoreSection,
)
from storeboot.config.settings import HOST_NAME, HostSection, SettingsSection
from storeboot.config.text import read_text
from storeboot.errors import ConfigError

DEFAULT_PATH = Path("/etc/storeboot/storeboot.toml")
ALIAS_PORT = 2049  # at which a system's own initrd looks for nfs.alias
_ANY = "0.0.0.0"
_AT_LINE = re.compile(r"(.*) \(at line (\d+), column \d+\)")


class Config(Section):
    """The whole file."""

    server: ServerSection
    store: StoreSection = StoreSection()
    database: DatabaseSection = DatabaseSection()
    http: HttpSection = HttpSection()
    nfs: NfsSection = NfsSection()
    dhcp: DhcpSection = DhcpSection()
    networks: dict[str, NetworkSection] = Field(
        default={},
        description="Networks that machines are on. Each machine uses the server's address on its "
        "own network; machines on other networks use server.address.",
    )
    initrd: InitrdSection = InitrdSection()
    agent: AgentSection = AgentSection()
    boots: BootsSection = BootsSection()
    packs: PacksSection = PacksSection()
    machines: MachinesSection = MachinesSection()
    defaults: SettingsSection = SettingsSection()
    groups: dict[str, SettingsSection] = Field(default={}, description="Settings that hosts share.")
    hosts: dict[str, HostSection] = Field(
        default={},
        description="Machines by name. Each needs a mac, uuid, serial or label, and shares none.",
    )

    @model_validator(mode="after")
    def _dhcp_has_networks(self) -> Self:
        if self.dhcp.raspberry_firmware is not None and self.dhcp.mode == "off":
            raise ValueError("dhcp.raspberry_firmware needs TFTP: set dhcp.mode")
        if self.dhcp.mode != "off" and not self.networks:
            raise ValueError(f'dhcp.mode = "{self.dhcp.mode}" needs at least one [networks.NAME]')
        for name, network in self.networks.items():
            if HOST_NAME.fullmatch(name) is None:
                raise ValueError(
                    f"{name!r} is not a network name: use lower case, digits and dashes"
                )
            if self.dhcp.mode == "full" and network.range is None:
                raise ValueError(f'network {name!r} has no range, which dhcp.mode = "full" needs')
        return self

    @model_validator(mode="after")
    def _ports_differ(self) -> Self:
        http, nfs = set(self.listening(self.http)), set(self.listening(self.nfs))
        if _ANY not in http | nfs and not http & nfs:
            return self
        if self.http.port == self.nfs.port:
            raise ValueError(
                f"http.port and nfs.port are both {self.http.port}: give one of them another port"
            )
        if self.nfs.alias and self.http.port == ALIAS_PORT:
            raise ValueError(f"http.port is {ALIAS_PORT}, which nfs.alias needs: give another port")
        return self

    def listening(self, section: HttpSection | NfsSection) -> tuple[str, ...]:
        """Return the addresses to bind."""
        if not self.networks or "listen" in section.model_fields_set:
            return (section.listen,)
        own = (network.own for network in self.networks.values())
        return tuple(dict.fromkeys((*own, self.server.address)))

    def address_towards(self, local: str) -> str:
        """Return the address to give a machine that has reached the server at `local`."""
        own = {network.own for network in self.networks.values()}
        return local if local in own else self.server.address

    @model_validator(mode="after")
    def _hosts_are_told_apart(self) -> Self:
        owners: dict[str, str] = {}
        for name, host in self.hosts.items():
            check_host(name, host, self.groups)
            for matcher in (*host.matchers, *host.address):
                other = owners.setdefault(min(spellings(matcher)), name)
                if other != name:
                    raise ValueError(f"{matcher} belongs to both {other!r} and {name!r}")
        return self


def check_host(name: str, host: HostSection, groups: Mapping[str, SettingsSection]) -> None:
    """Raise ValueError for what is wrong with a host's own settings."""
    if HOST_NAME.fullmatch(name) is None:
        raise ValueError(f"{name!r} is not a host name: use lower case, digits and dashes")
    if not host.matchers:
        raise ValueError(f"host {name!r} has no matcher: set mac, uuid, serial or label")
    if host.group is not None and host.group not in groups:
        known = ", ".join(sorted(groups)) or "none"
        raise ValueError(f"host {name!r} is in group {host.group!r}; groups are: {known}")


def load(path: Path) -> Config:
    """Read and check the file; return the configuration.

    Raises ConfigError with all faults, each with its place. Relative paths in the file are relative
    to the directory that it is in.
    """
    document = _parse(path, read_text(path))
    try:
        return Config.model_validate(document, context={DIRECTORY: path.absolute().parent})
    except ValidationError as error:
        raise ConfigError(
            listed(str(path), faults(error, Config)),
            "docs/reference/configuration.md has all settings",
        ) from None


def _parse(path: Path, text: str) -> dict[str, Any]:
    try:
        return tomllib.loads(text)
    except (tomllib.TOMLDecodeError, RecursionError) as error:
        place, reason = str(path), str(error)
        found = _AT_LINE.fullmatch(reason)
        if found is not None:
            place, reason = f"{path} line {found[2]}", _with_line(found[1], text, int(found[2]))
        raise ConfigError(
            f"{place} is not TOML: {reason}", "see docs/reference/storeboot.example.toml"
        ) from None


def _with_line(reason: str, text: str, number: int) -> str:
    lines = text.split("\n")
    line = lines[number - 1].strip()[:80] if number <= len(lines) else ""
    return f"{reason}: {line}" if line else reason
