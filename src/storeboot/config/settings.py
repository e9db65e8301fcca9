"""Defines the host settings: how a machine boots, and which machine it is.

A setting is one field here; CONTRIBUTING.md says how to add one.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, Field, field_validator, model_validator

from storeboot.config.fields import Use, settings_of
from storeboot.config.matchers import (
    LABEL,
    MAC,
    UUID,
    is_shared,
    normal_label,
    normal_mac,
    normal_serial,
    normal_uuid,
    spellings,
)
from storeboot.config.section import Section, own_ipv4
from storeboot.protocol import ipxe

HOST_NAME = re.compile(r"[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?")
_DIRECTORY = re.compile(r"(/[A-Za-z0-9_+-][A-Za-z0-9._+-]*)+/?")
# What the system, the kernel or the boot itself put there.
_NOT_PERSISTENT = ("/nix", "/etc", "/proc", "/sys", "/dev", "/run", "/bin", "/tmp", "/usr")


def _matching(pattern: str, fault: str) -> AfterValidator:
    """Return a check that text matches the whole pattern; `fault` says what the text is not."""

    def check(value: str) -> str:
        if re.fullmatch(pattern, value) is None:
            raise ValueError(f"{value!r} {fault}")
        return value

    return AfterValidator(check)


def _kept(values: tuple[str, ...]) -> tuple[str, ...]:
    """Return directories, each once; raise ValueError for one that cannot be kept."""
    for value in values:
        top = "/" + value.lstrip("/").partition("/")[0]
        if _DIRECTORY.fullmatch(value) is None or top in _NOT_PERSISTENT:
            raise ValueError(
                f"{value!r} cannot be kept: give an absolute path outside the directories of the "
                "system"
            )
    return tuple(dict.fromkeys(value.rstrip("/") for value in values))


def _passed_on(values: tuple[str, ...]) -> tuple[str, ...]:
    """Kernel parameters, each of which reaches the kernel as it is."""
    for value in values:
        reason = ipxe.fault(value)
        if not value.strip():
            reason = "is empty"
        elif ipxe.is_end(value.strip()):
            reason = "is no kernel parameter, and ends a command of iPXE"
        if reason is not None:
            raise ValueError(f"kernel parameter {value!r} {reason}")
    return values


NfsVersion = Literal["3", "4.1", "4.2"]
Mode = Literal["plain", "pack", "native"]
NixStore = Literal["local", "local-overlay"]
Size = Annotated[str, _matching(r"[0-9]+[kmgKMG%]?", "is not a tmpfs size like 50% or 8G")]
DiskLabel = Annotated[
    str,
    _matching(
        r"[A-Za-z0-9._+-]{1,63}",
        "is not a disk label: letters, digits and ._+-, at most 63 characters",
    ),
]
KernelParams = Annotated[tuple[str, ...], AfterValidator(_passed_on)]
Directories = Annotated[tuple[str, ...], AfterValidator(_kept)]
Console = Annotated[
    str, _matching(r"[A-Za-z0-9][A-Za-z0-9,:/._-]*", "is not a console like ttyS0,115200n8")
]


class BootSettings(Section):
    """How a machine boots.

    A layer (the defaults, a group, a host) holds what was set in it; `merged` layers make a host.
    """

    kernel_params: Annotated[KernelParams, Use(joined=True, option="kernel-param")] = Field(
        default=(),
        examples=[["quiet"], ["loglevel=4", "nomodeset"]],
        description="Kernel parameters to add after the system's own. Those of the defaults, the "
        "group and the host are all added, in this order.",
    )
    console: tuple[Console, ...] = Field(
        default=(),
        examples=[["tty0", "ttyS0,115200n8"], ["hvc0"]],
        description="Consoles of the kernel, instead of those in the system's own kernel "
        "parameters (`boot.kernelParams`). The last one is /dev/console, unless kernel_params "
        "have another, which is added after it.",
    )
    mode: Mode = Field(
        default="pack",
        description="How the machine gets its store: over NFS with a pack of names and hot files "
        "above it (pack), over NFS only (plain), or mounted by the system's own initrd "
        "(native). native needs nfs.alias and the host's address.",
    )
    overlay_size: Annotated[Size, Use(answered=True)] = Field(
        default="50%",
        examples=["8G", "25%"],
        description="Size of the overlay's tmpfs, as in tmpfs(5).",
    )
    overlay_label: Annotated[DiskLabel | None, Use(answered=True, modules="disk")] = Field(
        default=None,
        examples=["scratch", "data"],
        description="Disk label of a local file system that holds the store's overlay instead of "
        "memory. Overlays of earlier boots are removed; the file system is never "
        "formatted.",
    )
    persist_label: Annotated[DiskLabel | None, Use(answered=True, modules="disk")] = Field(
        default=None,
        examples=["state", "data"],
        description="Disk label of a local file system that keeps persist_directories across "
        "boots. It is never formatted.",
    )
    persist_directories: Annotated[
        Directories, Use(answered=True, joined=True, option="persist-directory")
    ] = Field(
        default=(),
        examples=[["/var/lib", "/home"], ["/srv"]],
        description="Directories to keep on the file system persist_label, such as /var/lib. Those "
        "of the defaults, the group and the host are all kept.",
    )
    zram: Annotated[Size | None, Use(answered=True, modules="zram")] = Field(
        default=None,
        examples=["50%", "1G"],
        description="Size of swap in compressed memory (zram), in the same form as overlay_size. "
        "If unset: no swap.",
    )
    nix_store: Annotated[NixStore, Use(answered=True)] = Field(
        default="local",
        description="Kind of store that the machine's Nix uses: one whose database contains the "
        "server's paths (local), or a local-overlay store whose lower store contains "
        "them (local-overlay).",
    )
    drivers: Annotated[tuple[str, ...], Use(option="driver")] = Field(
        default=(),
        examples=[["e1000e"], ["igb", "r8169"]],
        description="Network drivers to include in the initrd, instead of initrd.drivers.",
    )
    nfs_version: Annotated[NfsVersion | None, Use(answered=True)] = Field(
        default=None,
        examples=["4.2"],
        description="NFS version to mount the store with. If unset: nfs.version.",
    )
    ssh_host_key: Annotated[bool, Use(answered=True)] = Field(
        default=True,
        description="Whether the server keeps the machine's ssh host key (ed25519) and gives it to "
        "every boot. Anyone who can begin a boot in the host's name can obtain the "
        "key.",
    )
    specialisation: str | None = Field(
        default=None,
        examples=["gaming", "office"],
        description="Specialisation of the system to boot. If unset: the system itself.",
    )
    menu: bool | None = Field(
        default=None,
        examples=[True],
        description="Whether to show a menu of the newest generations and their specialisations at "
        "every boot. If unset: show it if m is pressed within a second. false: never "
        "show it.",
    )

    @model_validator(mode="before")
    @classmethod
    def _null_sets_nothing(cls, values: Any) -> Any:
        """Drop settings that are null, as rows of the database may have them."""
        if not isinstance(values, dict):
            return values
        return {name: value for name, value in values.items() if value is not None}


class SettingsSection(BootSettings):
    """How hosts boot: a host's own settings count before its group's, and those before the
    defaults."""

    system: str | None = Field(
        default=None,
        examples=[
            "/nix/store/00000000000000000000000000000000-nixos-system-lab1-26.05",
            "/nix/store/00000000000000000000000000000000-nixos-system-exam-26.05",
        ],
        description="System to boot, a toplevel in the store. It is deployed when this setting "
        "changes. If unset, the host boots what you deploy with `storeboot deploy`.",
    )


class HostSection(SettingsSection):
    """One machine; every matcher given must be this machine's alone."""

    mac: tuple[str, ...] = Field(
        default=(),
        examples=[["52:54:00:12:34:56"]],
        description="MAC addresses of the machine's boot NICs, with `:`, `-`, `.` or no separator.",
    )
    uuid: tuple[str, ...] = Field(
        default=(),
        examples=[["4c4c4544-0044-4810-8052-b4c04f564231"]],
        description="SMBIOS UUIDs. Braces, dashes and upper or lower case do not matter, and "
        "neither does the byte order of the first three fields.",
    )
    serial: tuple[str, ...] = Field(
        default=(),
        examples=[["PF2X7K1A"]],
        description="SMBIOS serial numbers. Blanks around them and upper or lower case do not "
        "matter.",
    )
    label: tuple[str, ...] = Field(
        default=(),
        examples=[["asset=LAB-7"]],
        description="Host labels: other strings that iPXE can send, as NAME=VALUE: `asset=LAB-7`. "
        "NAME is a setting of iPXE, such as asset, product or board-serial.",
    )
    address: tuple[str, ...] = Field(
        default=(),
        examples=[["10.1.0.21"]],
        description="IPv4 addresses that may mount this host's view through nfs.alias. With "
        "dhcp.mode full, the first one inside a network is the host's address there.",
    )
    group: str | None = Field(
        default=None, examples=["room"], description="Group whose settings the host inherits."
    )
    hostname: str | None = Field(
        default=None, examples=["lab1"], description="Host name. If unset: NAME in [hosts.NAME]."
    )

    @property
    def matchers(self) -> tuple[str, ...]:
        return (*self.mac, *self.uuid, *self.serial, *self.label)

    @field_validator("mac")
    @classmethod
    def _are_macs(cls, values: tuple[str, ...]) -> tuple[str, ...]:
        plain = tuple(map(normal_mac, values))
        for value in plain:
            if MAC.fullmatch(value) is None:
                raise ValueError(f"{value!r} is not a MAC address like 52:54:00:12:34:56")
            if is_shared(value):
                raise ValueError(f"{value!r} identifies no machine")
        return plain

    @field_validator("address")
    @classmethod
    def _are_ipv4(cls, values: tuple[str, ...]) -> tuple[str, ...]:
        return tuple(map(own_ipv4, values))

    @field_validator("uuid")
    @classmethod
    def _are_uuids(cls, values: tuple[str, ...]) -> tuple[str, ...]:
        plain = _own(map(normal_uuid, values))
        for value in plain:
            if UUID.fullmatch(value) is None:
                raise ValueError(
                    f"{value!r} is not a UUID like 4c4c4544-0044-4810-8052-b4c04f564231"
                )
        return tuple({min(spellings(value)): value for value in plain}.values())

    @field_validator("serial")
    @classmethod
    def _are_serials(cls, values: tuple[str, ...]) -> tuple[str, ...]:
        return _own(map(normal_serial, values))

    @field_validator("label")
    @classmethod
    def _are_labels(cls, values: tuple[str, ...]) -> tuple[str, ...]:
        plain = tuple(map(normal_label, values))
        for value in plain:
            name, _, said = value.partition("=")
            if LABEL.fullmatch(name) is None or not said.isprintable() or is_shared(said):
                raise ValueError(
                    f"{value!r} is not of the form asset=LAB-7, or many boards have it"
                )
        return plain

    @field_validator("hostname")
    @classmethod
    def _is_host_name(cls, value: str | None) -> str | None:
        if value is not None and HOST_NAME.fullmatch(value) is None:
            raise ValueError(f"{value!r} is not a host name")
        return value


def _own(values: Iterable[str]) -> tuple[str, ...]:
    """Return the values; raise ValueError if one of them is no machine's own."""
    found = tuple(values)
    for value in found:
        if is_shared(value):
            raise ValueError(f"{value!r} identifies no machine: many boards have it")
    return found


def merged(layers: Iterable[SettingsSection]) -> dict[str, Any]:
    """Merge layers, the outermost one first; return what they set. An empty list sets nothing."""
    settings = settings_of(SettingsSection)
    found: dict[str, Any] = {}
    for layer in layers:
        for name in layer.model_fields_set & settings.keys():
            value = getattr(layer, name)
            if value not in (None, ()):
                found[name] = found.get(name, ()) + value if settings[name].use.joined else value
    return found
