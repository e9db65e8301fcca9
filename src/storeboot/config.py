"""The configuration file: one TOML file, read here and nowhere else."""

from __future__ import annotations

import re
import tomllib
from collections.abc import Iterable, Mapping
from ipaddress import IPv4Address, IPv4Interface, IPv4Network
from pathlib import Path
from typing import Annotated, Literal, Self

from pydantic import (
    BaseModel,
    ConfigDict,
    Field,
    ValidationError,
    field_validator,
    model_validator,
)

from storeboot.errors import ConfigError

DEFAULT_PATH = Path("/etc/storeboot/storeboot.toml")

SERIAL = re.compile(r"[0-9a-f]{8}([0-9a-f]{8})")  # of a Raspberry Pi, and its TFTP directory
MAC = re.compile(r"[0-9a-f]{2}(:[0-9a-f]{2}){5}")
_HOST_NAME = re.compile(r"[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?")
LABEL = re.compile(r"[a-z][a-z0-9/.-]{0,62}")  # a setting of iPXE
_DISK_LABEL = re.compile(r"[A-Za-z0-9._+-]{1,63}")
_DIRECTORY = re.compile(r"(/[A-Za-z0-9_+-][A-Za-z0-9._+-]*)+/?")
# What the system, the kernel or the boot itself put there.
_NOT_PERSISTENT = ("/nix", "/etc", "/proc", "/sys", "/dev", "/run", "/bin", "/tmp", "/usr")
_INTERFACE = re.compile(r"[A-Za-z0-9_.@:-]{1,15}")
_SIZE = re.compile(r"[0-9]+[kmgKMG%]?")
# What firmware says where nobody wrote a serial number or a UUID into it.
_SHARED = frozenset(
    {
        "", "0123456789", "1234567890", "123456789", "03000200-0400-0500-0006-000700080009",
        "12345678-1234-5678-90ab-cddeefaabbcc", "chassis serial number", "default string", "empty",
        "invalid", "n/a", "na", "none", "not applicable", "not available", "not specified", "oem",
        "o.e.m.", "serial", "system serial number", "system version", "to be filled by o.e.m.",
        "unknown", "unspecified",
    }
)  # fmt: skip
_LISTEN = (
    "Address to listen on. With [networks] and no word here: the addresses of these, and "
    "server.address; nothing else."
)
Port = Annotated[int, Field(ge=1, le=65535)]
NfsVersion = Literal["3", "4.1", "4.2"]
Mode = Literal["plain", "pack", "native"]


class _Section(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


def _ipv4(value: str) -> str:
    try:
        return str(IPv4Address(value))
    except ValueError:
        raise ValueError(f"{value!r} is not an IPv4 address") from None


class ServerSection(_Section):
    address: str = Field(description="IPv4 address under which the machines reach this server.")
    state_directory: Path = Field(
        default=Path("/var/lib/storeboot"),
        description="Database, keys, built initrds, views and reports.",
    )

    @field_validator("address")
    @classmethod
    def _is_ipv4(cls, value: str) -> str:
        return _ipv4(value)


class StoreSection(_Section):
    root: Path = Field(default=Path("/"), description="Root of the Nix store (`nix --store`).")


class DatabaseSection(_Section):
    url: str | None = Field(
        default=None,
        description="SQLAlchemy URL, such as `postgresql+psycopg://user@host/storeboot`; by "
        "default SQLite in the state directory.",
    )


class HttpSection(_Section):
    listen: str = Field(default="0.0.0.0", description=_LISTEN)
    port: Port = Field(default=8080, description="TCP port of the boot service.")


class NfsSection(_Section):
    listen: str = Field(default="0.0.0.0", description=_LISTEN)
    port: Port = Field(default=2049, description="TCP port of NFS and MOUNT.")
    version: NfsVersion = Field(default="3", description="Protocol the machines mount with.")
    workers: Annotated[int, Field(ge=0, le=64)] | None = Field(
        default=None,
        description="Processes that answer NFS; by default one a processor. 0: the server itself.",
    )
    lease: Annotated[int, Field(ge=10, le=86400)] = Field(
        default=3600, description="NFSv4 lease, in seconds."
    )
    reply_memory: Annotated[int, Field(ge=1, le=4096)] = Field(
        default=16, description="MiB of kept replies, in each process."
    )
    alias: bool = Field(
        default=False,
        description="Serve each host's view as `nixstore`, on port 2049 as well, to the addresses "
        "in hosts.NAME.address: for systems whose own initrd mounts the store.",
    )


class DhcpSection(_Section):
    mode: Literal["off", "tftp", "proxy", "full"] = Field(
        default="off",
        description="What dnsmasq does on the interfaces of [networks]: nothing; hand out iPXE by "
        "TFTP, for a DHCP server that names it (`storeboot dhcp-snippet`); also name it, beside a "
        "DHCP server that gives the addresses (proxyDHCP); or all of it, addresses included.",
    )
    lease: Annotated[int, Field(ge=120, le=31_536_000)] = Field(
        default=3600, description="Seconds for which an address is given (full)."
    )
    port: Port = Field(default=67, description="UDP port of DHCP; the clients' is one higher.")
    dnsmasq: Path | None = Field(default=None, description="dnsmasq; by default the one on PATH.")
    user: str | None = Field(
        default=None,
        description="User that dnsmasq runs as where the server is root and no unit runs dnsmasq; "
        "by default dnsmasq, or nobody where there is no such user.",
    )
    raspberry_firmware: Path | None = Field(
        default=None,
        description="Directory with the firmware of Raspberry Pis: start4.elf, fixup4.dat and so "
        "on, and a config.txt whose lines go before ours. With it each host whose serial is a "
        "board's gets a TFTP directory.",
    )
    ipxe: dict[str, Path] = Field(
        default={},
        description="iPXE programs by firmware (bios, x64, ia32, arm64), where the distribution's "
        "are not to be used.",
    )


class NetworkSection(_Section):
    """A network that machines are on, as the server sees it."""

    interface: str = Field(description="The server's interface on it.")
    address: str = Field(
        description="The server's own IPv4 address on it, with prefix: 10.1.0.1/24. Machines of "
        "this network are told this one."
    )
    range: tuple[str, str] | None = Field(
        default=None, description="First and last address for machines (dhcp.mode full)."
    )
    router: str | None = Field(default=None, description="Told to machines (full).")
    dns: tuple[str, ...] = Field(default=(), description="Name servers, told to machines (full).")

    @field_validator("interface")
    @classmethod
    def _is_interface(cls, value: str) -> str:
        if _INTERFACE.fullmatch(value) is None:
            raise ValueError(f"{value!r} is not the name of a network interface")
        return value

    @field_validator("address")
    @classmethod
    def _has_prefix(cls, value: str) -> str:
        try:
            own = IPv4Interface(value)
        except ValueError:
            own = None
        if own is None or "/" not in value:
            raise ValueError(f"{value!r} is not like 10.1.0.1/24")
        return str(own)

    @field_validator("router")
    @classmethod
    def _router(cls, value: str | None) -> str | None:
        return _ipv4(value) if value is not None else None

    @field_validator("dns")
    @classmethod
    def _dns(cls, values: tuple[str, ...]) -> tuple[str, ...]:
        return tuple(map(_ipv4, values))

    @model_validator(mode="after")
    def _range_is_inside(self) -> Self:
        if self.range is not None:
            first, last = (IPv4Address(_ipv4(word)) for word in self.range)
            if first not in self.subnet or last not in self.subnet or first > last:
                raise ValueError(f"range {first} to {last} is not inside {self.subnet}")
        return self

    @property
    def own(self) -> str:
        """The server's address on it."""
        return str(IPv4Interface(self.address).ip)

    def has(self, addresses: Iterable[str]) -> bool:
        """Whether one of these is of this network."""
        return any(IPv4Address(address) in self.subnet for address in addresses)

    @property
    def subnet(self) -> IPv4Network:
        return IPv4Interface(self.address).network


class InitrdSection(_Section):
    busybox: Path | None = Field(
        default=None, description="A static busybox; by default the one on PATH."
    )
    busyboxes: dict[str, Path] = Field(
        default={},
        description="Static busyboxes for machines with another processor than the server's, by "
        "its name: aarch64, x86_64.",
    )
    drivers: tuple[str, ...] = Field(
        default=(), description="Network drivers to include; empty means every wired one."
    )


class AgentSection(_Section):
    heartbeat: Annotated[int, Field(ge=1, le=3600)] = Field(
        default=20, description="Seconds between a running machine's signs of life."
    )


class PacksSection(_Section):
    hot_size: Annotated[int, Field(ge=0, le=65536)] = Field(
        default=256, description="MiB of file data in one pack, at most, before compression."
    )
    learn_seconds: Annotated[int, Field(ge=0, le=3600)] = Field(
        default=30,
        description="Seconds after multi-user for which a boot's reads count as its own, for the "
        "packs of later boots.",
    )


class BootsSection(_Section):
    lease_days: Annotated[float, Field(gt=0, le=3650)] = Field(
        default=7,
        description="Days for which a machine that is not heard of any more keeps what it runs "
        "from garbage collection.",
    )
    at_once: Annotated[int, Field(ge=1, le=100_000)] = Field(
        default=32,
        description="Machines between boot script and multi-user at the same time; the next ones "
        "wait in iPXE, as after a power cut.",
    )


class MachinesSection(_Section):
    unknown: Literal["ignore", "register", "menu", "default"] = Field(
        default="ignore",
        description="What to do with a machine that is no host's: let its firmware go on; also "
        "write it down for `storeboot host list --unknown`; let somebody choose on its console "
        "which host it boots like; or have it boot like the host machines.default.",
    )
    default: str | None = Field(
        default=None,
        description="The host that unknown machines boot like, under names of their own.",
    )

    @model_validator(mode="after")
    def _has_default(self) -> Self:
        if (self.unknown == "default") != (self.default is not None):
            raise ValueError('unknown = "default" and default = "HOST" need each other')
        return self


class SettingsSection(_Section):
    """How to boot; a host's word counts before its group's, and that before the defaults."""

    system: str | None = Field(
        default=None,
        description="Toplevel to boot: /nix/store/…-nixos-system-…. Without it the host boots "
        "what `storeboot deploy` gives it.",
    )
    kernel_params: tuple[str, ...] = Field(
        default=(),
        description="Added behind the system's own kernel parameters; defaults', group's and "
        "host's are all added.",
    )
    mode: Mode | None = Field(
        default=None,
        description="How the store comes: all of it over NFS; or its names and what boots read in "
        "one file above NFS; or the system's own initrd mounts it (native), which needs nfs.alias "
        "and the host's address. pack if nobody says.",
    )
    overlay_size: str | None = Field(
        default=None,
        description="Size of the tmpfs above the store, as tmpfs(5) takes it; 50% if nobody says.",
    )
    overlay_label: str | None = Field(
        default=None,
        description="Label of a local file system that takes what is written to the store, instead "
        "of memory; emptied at every boot, and never formatted.",
    )
    persist_label: str | None = Field(
        default=None,
        description="Label of a local file system that keeps persist_directories over boots; never "
        "formatted.",
    )
    persist_directories: tuple[str, ...] = Field(
        default=(),
        description="Directories that persist_label keeps, such as /var/lib; those of "
        "defaults, group and host are all kept.",
    )
    zram: str | None = Field(
        default=None,
        description="Size of swap in compressed memory (zram), as overlay_size; none if nobody "
        "says.",
    )
    nix_store: Literal["local", "local-overlay"] | None = Field(
        default=None,
        description="What the machine's Nix is prepared for: a store that knows the paths of the "
        "server's by itself, or one of the kind local-overlay, whose lower store they are. local "
        "if nobody says.",
    )
    drivers: tuple[str, ...] = Field(
        default=(), description="Network drivers of the initrd, instead of initrd.drivers."
    )
    specialisation: str | None = Field(
        default=None,
        description="Which specialisation of its system to boot; by default the system itself.",
    )
    menu: bool | None = Field(
        default=None,
        description="Whether to show a menu of the last generations and their specialisations at "
        "every boot. By default it is shown when the key m is pressed within a second; false asks "
        "for none.",
    )
    nfs_version: NfsVersion | None = Field(
        default=None, description="Overrides nfs.version for these machines."
    )
    ssh_host_key: bool | None = Field(
        default=None,
        description="Whether the server keeps the machine's ssh host key (ed25519) and gives it to "
        "every boot; yes if nobody says. Who can begin a boot in a host's name can have its key.",
    )

    @field_validator("overlay_label", "persist_label")
    @classmethod
    def _is_disk_label(cls, value: str | None) -> str | None:
        if value is not None and _DISK_LABEL.fullmatch(value) is None:
            raise ValueError(f"{value!r} is not the label of a file system: no blanks, at most 63")
        return value

    @field_validator("persist_directories")
    @classmethod
    def _are_directories(cls, values: tuple[str, ...]) -> tuple[str, ...]:
        for value in values:
            top = "/" + value.lstrip("/").partition("/")[0]
            if _DIRECTORY.fullmatch(value) is None or top in _NOT_PERSISTENT:
                raise ValueError(f"{value!r} cannot be kept: an absolute path, not of the system")
        return tuple(value.rstrip("/") for value in values)

    @field_validator("overlay_size", "zram")
    @classmethod
    def _is_size(cls, value: str | None) -> str | None:
        if value is not None and _SIZE.fullmatch(value) is None:
            raise ValueError(f"{value!r} is not a tmpfs size like 50% or 8G")
        return value


class HostSection(SettingsSection):
    """One machine; every matcher given must be this machine's alone."""

    group: str | None = Field(default=None, description="Group whose settings it inherits.")
    mac: tuple[str, ...] = Field(default=(), description="MAC addresses of its boot NICs.")
    uuid: tuple[str, ...] = Field(default=(), description="SMBIOS UUIDs.")
    serial: tuple[str, ...] = Field(default=(), description="SMBIOS serial numbers.")
    label: tuple[str, ...] = Field(
        default=(),
        description="Other strings that iPXE can send, as NAME=VALUE: `asset=LAB-7`; NAME is one "
        "of its settings, such as asset, product or board-serial.",
    )
    address: tuple[str, ...] = Field(
        default=(),
        description="IPv4 addresses that may mount this host's view by nfs.alias; with "
        "dhcp.mode full, the first one inside a network is the host's there.",
    )
    hostname: str | None = Field(default=None, description="Host name; by default the key.")

    @property
    def matchers(self) -> tuple[str, ...]:
        return (*self.mac, *self.uuid, *self.serial, *self.label)

    @field_validator("mac")
    @classmethod
    def _are_macs(cls, values: tuple[str, ...]) -> tuple[str, ...]:
        lower = tuple(value.lower().replace("-", ":") for value in values)
        for value in lower:
            if MAC.fullmatch(value) is None:
                raise ValueError(f"{value!r} is not a MAC address like 52:54:00:12:34:56")
        return lower

    @field_validator("address")
    @classmethod
    def _are_ipv4(cls, values: tuple[str, ...]) -> tuple[str, ...]:
        return tuple(map(_ipv4, values))

    @field_validator("uuid")
    @classmethod
    def _lower(cls, values: tuple[str, ...]) -> tuple[str, ...]:
        return tuple(value.lower() for value in values)

    @field_validator("uuid", "serial")
    @classmethod
    def _are_its_own(cls, values: tuple[str, ...]) -> tuple[str, ...]:
        for value in values:
            if is_shared(value):
                raise ValueError(f"{value!r} is what many boards say; it tells no machine apart")
        return values

    @field_validator("label")
    @classmethod
    def _are_labels(cls, values: tuple[str, ...]) -> tuple[str, ...]:
        for value in values:
            name, _, said = value.partition("=")
            if LABEL.fullmatch(name) is None or not said.isprintable() or is_shared(said):
                raise ValueError(f"{value!r} is not like asset=LAB-7, or is what many boards say")
        return values

    @field_validator("hostname")
    @classmethod
    def _is_host_name(cls, value: str | None) -> str | None:
        if value is not None and _HOST_NAME.fullmatch(value) is None:
            raise ValueError(f"{value!r} is not a host name")
        return value


class Config(_Section):
    """The whole file."""

    server: ServerSection
    store: StoreSection = StoreSection()
    database: DatabaseSection = DatabaseSection()
    http: HttpSection = HttpSection()
    nfs: NfsSection = NfsSection()
    dhcp: DhcpSection = DhcpSection()
    networks: dict[str, NetworkSection] = Field(
        default={},
        description="Networks that machines are on: with them each machine is told the server's "
        "address on its own network. Machines of other networks are told server.address.",
    )
    initrd: InitrdSection = InitrdSection()
    agent: AgentSection = AgentSection()
    boots: BootsSection = BootsSection()
    packs: PacksSection = PacksSection()
    machines: MachinesSection = MachinesSection()
    defaults: SettingsSection = SettingsSection()
    groups: dict[str, SettingsSection] = Field(default={}, description="Settings that hosts share.")
    hosts: dict[str, HostSection] = Field(default={}, description="Machines by name.")

    @model_validator(mode="after")
    def _dhcp_has_networks(self) -> Self:
        if self.dhcp.raspberry_firmware is not None and self.dhcp.mode == "off":
            raise ValueError("dhcp.raspberry_firmware needs TFTP: set dhcp.mode")
        if self.dhcp.mode != "off" and not self.networks:
            raise ValueError(f'dhcp.mode = "{self.dhcp.mode}" needs at least one [networks.NAME]')
        for name, network in self.networks.items():
            if _HOST_NAME.fullmatch(name) is None:
                raise ValueError(f"network {name!r}: lower case, digits and dashes")
            if self.dhcp.mode == "full" and network.range is None:
                raise ValueError(f'network {name!r} has no range, which dhcp.mode = "full" needs')
        return self

    def listening(self, section: HttpSection | NfsSection) -> tuple[str, ...]:
        """Addresses to bind."""
        if not self.networks or "listen" in section.model_fields_set:
            return (section.listen,)
        own = (network.own for network in self.networks.values())
        return tuple(dict.fromkeys((*own, self.server.address)))

    def address_towards(self, local: str) -> str:
        """What a machine is told to ask, who has asked at the server's address `local`."""
        own = {network.own for network in self.networks.values()}
        return local if local in own else self.server.address

    @model_validator(mode="after")
    def _hosts_are_told_apart(self) -> Self:
        owners: dict[str, str] = {}
        for name, host in self.hosts.items():
            check_host(name, host, self.groups)
            for matcher in (*host.matchers, *host.address):
                other = owners.setdefault(matcher, name)
                if other != name:
                    raise ValueError(f"{matcher} belongs to both {other!r} and {name!r}")
        return self


def check_host(name: str, host: HostSection, groups: Mapping[str, SettingsSection]) -> None:
    """ValueError, in words, for what the host alone says."""
    if _HOST_NAME.fullmatch(name) is None:
        raise ValueError(f"{name!r} is not a host name: lower case, digits and dashes")
    if not host.matchers:
        raise ValueError(f"host {name!r} has no mac, uuid, serial or label to know it by")
    if host.group is not None and host.group not in groups:
        known = ", ".join(sorted(groups)) or "none"
        raise ValueError(f"host {name!r} is in group {host.group!r}; groups are: {known}")


def is_shared(matcher: str) -> bool:
    """Whether a UUID or serial number is one that boards of many kinds have."""
    plain = matcher.strip().lower()
    return plain in _SHARED or len(set(plain.replace("-", ""))) < 2


def load(path: Path) -> Config:
    """Every fault of the file in one ConfigError, each with its place."""
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
    """All of them, each in a line with its place."""
    lines = (
        f"\n  {'.'.join(str(part) for part in fault['loc']) or '(file)'}: "
        f"{fault['msg'].removeprefix('Value error, ')}"
        for fault in error.errors()
    )
    count = error.error_count()
    return f"{count} fault{'s' if count > 1 else ''}:{''.join(lines)}"


def _missing_hint(path: Path) -> str:
    return f"write {path}, or name another file with --config"
