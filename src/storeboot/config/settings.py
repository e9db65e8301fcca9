"""Host settings: how a machine boots, and which machine it is."""

from __future__ import annotations

import re
from typing import Literal

from pydantic import Field, field_validator

from storeboot.config.matchers import LABEL, MAC, is_shared
from storeboot.config.section import Section, ipv4

HOST_NAME = re.compile(r"[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?")
_DISK_LABEL = re.compile(r"[A-Za-z0-9._+-]{1,63}")
_DIRECTORY = re.compile(r"(/[A-Za-z0-9_+-][A-Za-z0-9._+-]*)+/?")
# What the system, the kernel or the boot itself put there.
_NOT_PERSISTENT = ("/nix", "/etc", "/proc", "/sys", "/dev", "/run", "/bin", "/tmp", "/usr")
_SIZE = re.compile(r"[0-9]+[kmgKMG%]?")
NfsVersion = Literal["3", "4.1", "4.2"]
Mode = Literal["plain", "pack", "native"]


class SettingsSection(Section):
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
        return tuple(map(ipv4, values))

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
        if value is not None and HOST_NAME.fullmatch(value) is None:
            raise ValueError(f"{value!r} is not a host name")
        return value
