"""The configuration file: one TOML file, read here and nowhere else."""

from __future__ import annotations

import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Self

from pydantic import Field, ValidationError, model_validator

from storeboot.config.matchers import spellings
from storeboot.config.section import Section
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
from storeboot.errors import ConfigError

DEFAULT_PATH = Path("/etc/storeboot/storeboot.toml")


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
    """Read and check the file; one ConfigError lists all faults, each with its place."""
    hint = f"see docs/reference/configuration.md; the file is {path}"
    try:
        document = tomllib.loads(path.read_text())
    except OSError as error:
        raise ConfigError(f"cannot read {path}: {error.strerror}", _missing_hint(path)) from None
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise ConfigError(f"{path} is not TOML: {error}", hint) from None
    try:
        return Config.model_validate(document)
    except ValidationError as error:
        raise ConfigError(f"{path} has {faults(error)}", hint) from None


def faults(error: ValidationError) -> str:
    """List all faults, one per line, each with its place."""
    lines = (
        f"\n  {'.'.join(str(part) for part in fault['loc']) or '(file)'}: "
        f"{fault['msg'].removeprefix('Value error, ')}"
        for fault in error.errors()
    )
    count = error.error_count()
    return f"{count} fault{'s' if count > 1 else ''}:{''.join(lines)}"


def _missing_hint(path: Path) -> str:
    return f"write {path}, or name another file with --config"
