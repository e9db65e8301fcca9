"""The sections of the server: where it listens, what it keeps, how machines find it."""

from __future__ import annotations

import re
from collections.abc import Iterable
from ipaddress import IPv4Address, IPv4Interface, IPv4Network
from pathlib import Path
from typing import Annotated, Literal, Self

from pydantic import Field, field_validator, model_validator

from storeboot.config.section import Section, ipv4
from storeboot.config.settings import NfsVersion

_INTERFACE = re.compile(r"[A-Za-z0-9_.@:-]{1,15}")
_LISTEN = (
    "Address to listen on. If it is not set and there are [networks], the server listens on its "
    "addresses there and on server.address, and on nothing else."
)
Port = Annotated[int, Field(ge=1, le=65535)]


class ServerSection(Section):
    address: str = Field(
        examples=["192.168.1.1"],
        description="IPv4 address at which the machines reach this server.",
    )
    state_directory: Path = Field(
        default=Path("/var/lib/storeboot"),
        description="Database, keys, built initrds, views and reports.",
    )

    @field_validator("address")
    @classmethod
    def _isipv4(cls, value: str) -> str:
        return ipv4(value)


class StoreSection(Section):
    root: Path = Field(default=Path("/"), description="Root of the Nix store (`nix --store`).")


class DatabaseSection(Section):
    url: str | None = Field(
        default=None,
        examples=["postgresql+psycopg://storeboot@db.example.org/storeboot"],
        description="SQLAlchemy URL of the database; SQLite in the state directory if not set.",
    )


class HttpSection(Section):
    listen: str = Field(default="0.0.0.0", description=_LISTEN)
    port: Port = Field(default=8080, description="TCP port of the boot service.")


class NfsSection(Section):
    listen: str = Field(default="0.0.0.0", description=_LISTEN)
    port: Port = Field(default=2049, description="TCP port of NFS and MOUNT.")
    version: NfsVersion = Field(default="3", description="Protocol the machines mount with.")
    workers: Annotated[int, Field(ge=0, le=64)] | None = Field(
        default=None,
        examples=[2],
        description="Processes that answer NFS; one per processor if not set. 0: the server "
        "itself.",
    )
    lease: Annotated[int, Field(ge=10, le=86400)] = Field(
        default=3600,
        description="NFSv4 lease, in seconds. A short one makes idle machines give back what saves "
        "them round trips.",
    )
    reply_memory: Annotated[int, Field(ge=1, le=4096)] = Field(
        default=16, description="MiB of kept replies, in each process."
    )
    alias: bool = Field(
        default=False,
        description="Serve each host's view as `nixstore`, on port 2049 as well, to the addresses "
        "in hosts.NAME.address: for systems whose own initrd mounts the store.",
    )


class DhcpSection(Section):
    mode: Literal["off", "tftp", "proxy", "full"] = Field(
        default="off",
        description="What dnsmasq does on the interfaces of [networks]. off: nothing. tftp: hand "
        "out iPXE by TFTP, for a DHCP server that names it (`storeboot dhcp-snippet`). proxy: also "
        "name it, beside a DHCP server that gives the addresses (proxyDHCP). full: all of it, "
        "addresses included.",
    )
    lease: Annotated[int, Field(ge=120, le=31_536_000)] = Field(
        default=3600, description="Seconds for which an address is given (full)."
    )
    port: Port = Field(default=67, description="UDP port of DHCP; the clients' is one higher.")
    dnsmasq: Path | None = Field(
        default=None,
        examples=["/usr/sbin/dnsmasq"],
        description="dnsmasq; the one on PATH if not set.",
    )
    user: str | None = Field(
        default=None,
        examples=["dnsmasq"],
        description="User that dnsmasq runs as where the server is root and no unit runs dnsmasq. "
        "If not set it is dnsmasq, or nobody where there is no such user.",
    )
    raspberry_firmware: Path | None = Field(
        default=None,
        examples=["/srv/raspberrypi/boot"],
        description="Directory with the firmware of Raspberry Pis: start4.elf, fixup4.dat and so "
        "on, and a config.txt whose lines go before ours. With it each host whose serial is a "
        "board's gets a TFTP directory.",
    )
    ipxe: dict[str, Path] = Field(
        default={},
        examples=[{"ia32": "/srv/ipxe/ipxe32.efi", "arm64": "/srv/ipxe/ipxe-arm64.efi"}],
        description="iPXE programs by firmware (bios, x64, ia32, arm64), instead of the "
        "distribution's.",
    )


class NetworkSection(Section):
    """A network that machines are on, as the server sees it."""

    interface: str = Field(examples=["eth1"], description="The server's interface on this network.")
    address: str = Field(
        examples=["10.1.0.1/24"],
        description="The server's own IPv4 address on this network, with prefix: 10.1.0.1/24. "
        "Machines of this network are told this address.",
    )
    range: tuple[str, str] | None = Field(
        default=None,
        examples=[("10.1.0.100", "10.1.0.199")],
        description="First and last address for machines (dhcp.mode full).",
    )
    router: str | None = Field(
        default=None, examples=["10.1.0.254"], description="Router that machines use (full)."
    )
    dns: tuple[str, ...] = Field(
        default=(), examples=[["10.1.0.254"]], description="Name servers of machines (full)."
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
            raise ValueError(f"{value!r} is not like 10.1.0.1/24")
        return str(own)

    @field_validator("router")
    @classmethod
    def _router(cls, value: str | None) -> str | None:
        return ipv4(value) if value is not None else None

    @field_validator("dns")
    @classmethod
    def _dns(cls, values: tuple[str, ...]) -> tuple[str, ...]:
        return tuple(map(ipv4, values))

    @model_validator(mode="after")
    def _range_is_inside(self) -> Self:
        if self.range is not None:
            first, last = (IPv4Address(ipv4(word)) for word in self.range)
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


class InitrdSection(Section):
    busybox: Path | None = Field(
        default=None,
        examples=["/nix/store/…-busybox-static/bin/busybox"],
        description="A static busybox; the one on PATH if not set.",
    )
    busyboxes: dict[str, Path] = Field(
        default={},
        examples=[{"aarch64": "/srv/arm64/busybox"}],
        description="Static busyboxes for machines with another processor than the server's, by "
        "its name: aarch64, x86_64.",
    )
    drivers: tuple[str, ...] = Field(
        default=(),
        examples=[["e1000e", "r8169"]],
        description="Network drivers to include; every wired one if empty.",
    )


class AgentSection(Section):
    heartbeat: Annotated[int, Field(ge=1, le=3600)] = Field(
        default=20, description="Seconds between a running machine's signs of life."
    )


class PacksSection(Section):
    hot_size: Annotated[int, Field(ge=0, le=65536)] = Field(
        default=256, description="MiB of file data in one pack, at most, before compression."
    )
    learn_seconds: Annotated[int, Field(ge=0, le=3600)] = Field(
        default=30,
        description="Seconds after multi-user for which a boot's reads count as its own, for the "
        "packs of later boots.",
    )


class BootsSection(Section):
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


class MachinesSection(Section):
    unknown: Literal["ignore", "register", "menu", "default"] = Field(
        default="ignore",
        description="What to do with a machine that is no host's. ignore: let its firmware go on. "
        "register: also write it down for `storeboot host list --unknown`. menu: let somebody "
        "choose on its console which host it boots like. default: have it boot like the host "
        "machines.default.",
    )
    default: str | None = Field(
        default=None,
        examples=["lab1"],
        description="The host that unknown machines boot like, under names of their own.",
    )

    @model_validator(mode="after")
    def _has_default(self) -> Self:
        if (self.unknown == "default") != (self.default is not None):
            raise ValueError('unknown = "default" and default = "HOST" need each other')
        return self
