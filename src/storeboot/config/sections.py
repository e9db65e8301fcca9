"""Defines the sections of the server: where it listens, what it keeps, how machines find it."""

from __future__ import annotations

import re
from collections.abc import Iterable
from ipaddress import IPv4Address, IPv4Interface, IPv4Network
from pathlib import Path
from typing import Annotated, Literal, Self

from pydantic import Field, ValidationInfo, field_validator, model_validator

from storeboot.config.section import Place, Program, Section, anchored, ipv4, own_ipv4
from storeboot.config.settings import NfsVersion

_INTERFACE = re.compile(r"[A-Za-z0-9_.@:-]{1,15}")
_PREFIX = re.compile(r"[0-9a-f]{2}(:[0-9a-f]{2}){2}")
_LISTEN = (
    "Address to listen on. If unset and there are [networks]: the addresses of these networks plus "
    "server.address, and no others."
)
Port = Annotated[int, Field(ge=1, le=65535)]


class ServerSection(Section):
    address: str = Field(
        examples=["192.168.1.1"],
        description="IPv4 address at which machines reach this server.",
    )
    state_directory: Place = Field(
        default=Path("/var/lib/storeboot"),
        description="Directory for the database, keys, initrds, packs, views and reports.",
    )

    @field_validator("address")
    @classmethod
    def _is_own(cls, value: str) -> str:
        return own_ipv4(value)


class StoreSection(Section):
    root: Place = Field(
        default=Path("/"), description="Root of the Nix store, as for `nix --store`."
    )


class DatabaseSection(Section):
    url: str | None = Field(
        default=None,
        examples=["postgresql+psycopg://storeboot@db.example.org/storeboot"],
        description="SQLAlchemy URL of the database, such as "
        "`postgresql+psycopg://user@host/storeboot`. If unset: SQLite in the state "
        "directory.",
    )

    @field_validator("url")
    @classmethod
    def _is_anchored(cls, value: str | None, info: ValidationInfo) -> str | None:
        """Let a file of SQLite be relative to the configuration file, as other paths are."""
        driver, _, place = (value or "").partition("://")
        if not driver.startswith("sqlite"):
            return value
        if place in ("", "/", "/:memory:"):
            raise ValueError(f"{value!r} keeps nothing: name a file, or leave it out")
        return f"{driver}:///{anchored(Path(place.removeprefix('/')), info)}"


class ListeningSection(Section):
    """A section with an address to listen on."""

    listen: str = Field(default="0.0.0.0", description=_LISTEN)

    @field_validator("listen")
    @classmethod
    def _is_ipv4(cls, value: str) -> str:
        return ipv4(value)


class HttpSection(ListeningSection):
    port: Port = Field(default=8080, description="TCP port for HTTP.")


class NfsSection(ListeningSection):
    port: Port = Field(default=2049, description="TCP port for NFS and MOUNT.")
    version: NfsVersion = Field(default="3", description="NFS version that machines mount with.")
    workers: Annotated[int, Field(ge=0, le=64)] | None = Field(
        default=None,
        examples=[2],
        description="Number of worker processes that answer NFS calls. If unset: one per "
        "processor. 0: the main process answers.",
    )
    lease: Annotated[int, Field(ge=10, le=86400)] = Field(
        default=3600,
        description="NFS lease (NFSv4 only), in seconds. A short lease makes idle machines return "
        "delegations that save round trips.",
    )
    reply_memory: Annotated[int, Field(ge=1, le=4096)] = Field(
        default=16, description="MiB of cached replies in each process."
    )
    alias: bool = Field(
        default=False,
        description="Serve each host's view under the name `nixstore`, on port 2049 in addition to "
        "nfs.port, to the addresses in hosts.NAME.address. For systems whose own "
        "initrd mounts the store.",
    )


class DhcpSection(Section):
    mode: Literal["off", "tftp", "proxy", "full"] = Field(
        default="off",
        description="What dnsmasq does on the interfaces of [networks]. off: nothing. tftp: serve "
        "iPXE over TFTP, for a DHCP server that names it (`storeboot dhcp-snippet`). "
        "proxy: also name it, alongside a DHCP server that gives out addresses "
        "(proxyDHCP). full: also give out addresses.",
    )
    lease: Annotated[int, Field(ge=120, le=31_536_000)] = Field(
        default=3600, description="Duration of a DHCP lease in seconds (dhcp.mode full)."
    )
    port: Port = Field(
        default=67, description="UDP port of the DHCP server. The clients' port is one higher."
    )
    dnsmasq: Program | None = Field(
        default=None,
        examples=["/usr/sbin/dnsmasq"],
        description="The dnsmasq program. If unset: the one on PATH.",
    )
    user: str | None = Field(
        default=None,
        examples=["dnsmasq"],
        description="User that runs dnsmasq if the server runs as root and no unit runs dnsmasq. "
        "If unset: dnsmasq, or nobody if there is no such user.",
    )
    raspberry_firmware: Place | None = Field(
        default=None,
        examples=["/srv/raspberrypi/boot"],
        description="Directory with the firmware of Raspberry Pis: start4.elf, fixup4.dat and so "
        "on, and a config.txt whose lines come before storeboot's. If set, each host "
        "whose serial is that of a board gets a TFTP directory.",
    )
    raspberry_prefixes: tuple[str, ...] = Field(
        default=(),
        examples=[["aa:bb:cc"]],
        description="First three bytes of the MAC addresses of Raspberry Pis, in addition to those "
        "that storeboot knows. Boards are also recognised by option 97, and by the serial and MAC "
        "address of their host.",
    )
    ipxe: dict[str, Place] = Field(
        default={},
        examples=[{"ia32": "/srv/ipxe/ipxe32.efi", "arm64": "/srv/ipxe/ipxe-arm64.efi"}],
        description="iPXE programs by kind of firmware (bios, x64, ia32, arm64, riscv64), to use "
        "instead of the distribution's.",
    )

    @field_validator("raspberry_prefixes")
    @classmethod
    def _are_prefixes(cls, values: tuple[str, ...]) -> tuple[str, ...]:
        found = tuple(value.lower().replace("-", ":") for value in values)
        for value, prefix in zip(values, found, strict=True):
            if _PREFIX.fullmatch(prefix) is None:
                raise ValueError(f"{value!r} is not the beginning of a MAC address, as 2c:cf:67 is")
        return found


class NetworkSection(Section):
    """A network that machines are on, as the server sees it."""

    interface: str = Field(
        examples=["eth1"], description="The server's network interface on this network."
    )
    address: str = Field(
        examples=["10.1.0.1/24"],
        description="The server's IPv4 address on this network, with prefix length: 10.1.0.1/24. "
        "Machines on this network use this address.",
    )
    range: tuple[str, str] | None = Field(
        default=None,
        examples=[("10.1.0.100", "10.1.0.199")],
        description="First and last address to give out to machines (dhcp.mode full).",
    )
    router: str | None = Field(
        default=None,
        examples=["10.1.0.254"],
        description="Router to announce to machines (dhcp.mode full).",
    )
    dns: tuple[str, ...] = Field(
        default=(),
        examples=[["10.1.0.254"]],
        description="Name servers to announce to machines (dhcp.mode full).",
    )

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
            raise ValueError(f"{value!r} is not of the form 10.1.0.1/24")
        own_ipv4(str(own.ip))
        ends = (own.network.network_address, own.network.broadcast_address)
        if own.network.num_addresses > 2 and own.ip in ends:
            raise ValueError(f"{value!r} is the network itself: give the server's address on it")
        return str(own)

    @field_validator("router")
    @classmethod
    def _router(cls, value: str | None) -> str | None:
        return own_ipv4(value) if value is not None else None

    @field_validator("dns")
    @classmethod
    def _dns(cls, values: tuple[str, ...]) -> tuple[str, ...]:
        return tuple(map(own_ipv4, values))

    @model_validator(mode="after")
    def _range_is_inside(self) -> Self:
        if self.range is not None:
            first, last = (IPv4Address(own_ipv4(word)) for word in self.range)
            if first not in self.subnet or last not in self.subnet or first > last:
                raise ValueError(f"range {first} to {last} is not inside {self.subnet}")
        return self

    @property
    def own(self) -> str:
        """Return the server's address on this network."""
        return str(IPv4Interface(self.address).ip)

    def has(self, addresses: Iterable[str]) -> bool:
        """Return whether one of the addresses is on this network."""
        return any(IPv4Address(address) in self.subnet for address in addresses)

    @property
    def subnet(self) -> IPv4Network:
        return IPv4Interface(self.address).network


class InitrdSection(Section):
    busybox: Place | None = Field(
        default=None,
        examples=["/nix/store/…-busybox-static/bin/busybox"],
        description="A static busybox. If unset: the one on PATH.",
    )
    busyboxes: dict[str, Place] = Field(
        default={},
        examples=[{"aarch64": "/srv/arm64/busybox"}],
        description="Static busyboxes for machines whose processor differs from the server's, by "
        "the name of the processor: aarch64, x86_64.",
    )
    drivers: tuple[str, ...] = Field(
        default=(),
        examples=[["e1000e", "r8169"]],
        description="Network drivers to include. If empty: all drivers of wired NICs.",
    )


class AgentSection(Section):
    heartbeat: Annotated[int, Field(ge=1, le=3600)] = Field(
        default=20, description="Seconds between two heartbeats of a machine's agent."
    )


class PacksSection(Section):
    hot_size: Annotated[int, Field(ge=0, le=65536)] = Field(
        default=256, description="Maximum MiB of file data in one pack, before compression."
    )
    learn_seconds: Annotated[int, Field(ge=0, le=3600)] = Field(
        default=30,
        description="How long after multi-user, in seconds, the server still counts a machine's "
        "reads as part of its boot when it learns which files are hot.",
    )


class BootsSection(Section):
    lease_days: Annotated[float, Field(gt=0, le=3650)] = Field(
        default=7,
        description="Duration of a boot lease in days: how long garbage collection spares what a "
        "machine runs after the server last heard of it.",
    )
    at_once: Annotated[int, Field(ge=1, le=100_000)] = Field(
        default=32,
        description="Maximum number of machines that boot at the same time, from boot script to "
        "multi-user. Further machines wait in iPXE, for example after a power cut.",
    )


class MachinesSection(Section):
    unknown: Literal["ignore", "register", "menu", "default"] = Field(
        default="ignore",
        description="What to do with an unknown machine, one that matches no host. ignore: let its "
        "firmware carry on. register: also record it for `storeboot host list "
        "--unknown`. menu: let somebody choose at its console which host it boots "
        "like. default: boot it like the host machines.default.",
    )
    default: str | None = Field(
        default=None,
        examples=["lab1"],
        description="The host that unknown machines boot like. Each gets a name of its own.",
    )

    @model_validator(mode="after")
    def _has_default(self) -> Self:
        if (self.unknown == "default") != (self.default is not None):
            raise ValueError('unknown = "default" and default = "HOST" need each other')
        return self
