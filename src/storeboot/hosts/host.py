"""A host is an entry of ours; a machine is what shows up on the wire and may match one."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field, replace
from typing import TypeVar

from storeboot.config import (
    SERIAL,
    Config,
    HostSection,
    Mode,
    NfsVersion,
    SettingsSection,
    is_shared,
)
from storeboot.errors import ConfigError
from storeboot.hosts import words
from storeboot.nix.store import StorePath

OVERLAY_SIZE = "50%"
T = TypeVar("T")
MAX_WORD = 255  # characters
MAX_BASE = 50  # characters of a host name before -525400123456


@dataclass(frozen=True, slots=True)
class Machine:
    """What a machine says of itself; "" for what it does not say."""

    mac: str = ""
    uuid: str = ""
    serial: str = ""
    labels: tuple[str, ...] = ()  # NAME=VALUE

    @classmethod
    def from_words(cls, mac: str, uuid: str, serial: str, labels: Iterable[str] = ()) -> Machine:
        """MAC with `:` or `-`, in either case; nothing in it that a terminal would act on."""
        plain = words.line(mac.lower().replace("-", ":"), MAX_WORD)
        said = (words.line(label, 2 * MAX_WORD) for label in labels if label.partition("=")[2])
        return cls(
            plain,
            words.line(uuid.lower(), MAX_WORD),
            words.line(serial, MAX_WORD),
            tuple(sorted(said)),
        )

    @property
    def matchers(self) -> frozenset[str]:
        """What it can be known by; what many boards say alike is left out."""
        said = {self.mac, self.uuid, self.serial, *self.labels}
        return frozenset(said - {""} - self.shared)

    @property
    def shared(self) -> frozenset[str]:
        words = {word: word for word in (self.uuid, self.serial) if word}
        words |= {label: label.partition("=")[2] for label in self.labels}
        return frozenset(said for said, value in words.items() if is_shared(value))


@dataclass(frozen=True, slots=True)
class Host:
    """A machine that is known, and how it boots: its own settings over its group's and defaults."""

    name: str
    system: StorePath | None = None  # what the configuration gives it
    matchers: frozenset[str] = field(default_factory=frozenset)
    macs: tuple[str, ...] = ()  # of its boot NICs, the first one first
    addresses: tuple[str, ...] = ()
    hostname: str = ""
    kernel_params: tuple[str, ...] = ()
    mode: Mode = "pack"
    overlay_size: str = OVERLAY_SIZE
    nfs_version: NfsVersion = "3"
    overlay_label: str | None = None
    persist_label: str | None = None
    persist_directories: tuple[str, ...] = ()
    zram: str | None = None
    nix_store: str = "local"
    drivers: tuple[str, ...] = ()
    ssh_host_key: bool = True
    specialisation: str | None = None
    menu: bool | None = None
    like: str | None = None  # the host whose generations an unknown machine boots
    group: str | None = None
    declared: bool = True  # in the configuration file, not added by command

    @classmethod
    def from_config(
        cls, name: str, section: HostSection, config: Config, *, declared: bool = True
    ) -> Host:
        group = config.groups.get(section.group or "", SettingsSection())
        layers = (section, group, config.defaults)

        def said(of: Callable[[SettingsSection], T | None]) -> T | None:
            """The innermost word."""
            return next((word for layer in layers if (word := of(layer)) not in (None, ())), None)

        system = said(lambda layer: layer.system)
        mode: Mode = said(lambda layer: layer.mode) or "pack"
        if mode == "native" and not (config.nfs.alias and section.address):
            raise ConfigError(
                f"host {name}: mode native needs nfs.alias = true and the host's address",
                "its own initrd mounts the store by that name, and is known by its address only",
            )
        label, directories = said(lambda layer: layer.persist_label), _directories(layers)
        if (label is None) != (not directories):
            raise ConfigError(
                f"host {name}: persist_label and persist_directories need each other",
                "give both to the host, its group or the defaults, or none",
            )
        return cls(
            name=name,
            system=StorePath.from_arg(system) if system else None,
            matchers=frozenset(section.matchers),
            macs=section.mac,
            addresses=section.address,
            hostname=section.hostname or name,
            kernel_params=(
                *config.defaults.kernel_params,
                *group.kernel_params,
                *section.kernel_params,
            ),
            mode=mode,
            overlay_size=said(lambda layer: layer.overlay_size) or OVERLAY_SIZE,
            overlay_label=said(lambda layer: layer.overlay_label),
            persist_label=label,
            persist_directories=directories,
            zram=said(lambda layer: layer.zram),
            nix_store=said(lambda layer: layer.nix_store) or "local",
            drivers=said(lambda layer: layer.drivers) or (),
            nfs_version=said(lambda layer: layer.nfs_version) or config.nfs.version,
            ssh_host_key=said(lambda layer: layer.ssh_host_key) is not False,
            specialisation=said(lambda layer: layer.specialisation),
            menu=said(lambda layer: layer.menu),
            group=section.group,
            declared=declared,
        )

    def for_guest(self, mac: str) -> Host:
        """How an unknown machine boots like this host: with a name, and so an identity, of its own.

        It gets no ssh host key: there is no end to the machines that may call themselves so.
        """
        name = f"{self.name[:MAX_BASE]}-{mac.replace(':', '')}"
        return replace(
            self, name=name, hostname=name, matchers=frozenset({mac}), ssh_host_key=False,
            like=self.name, declared=False,
        )  # fmt: skip

    @property
    def serials(self) -> tuple[str, ...]:
        """Serial numbers as Raspberry Pis have them."""
        return tuple(sorted(filter(SERIAL.fullmatch, self.matchers)))

    @property
    def profile(self) -> str:
        """The host whose generations it boots."""
        return self.like or self.name

    def matches(self, machine: Machine) -> bool:
        return not self.matchers.isdisjoint(machine.matchers)


def _directories(layers: Iterable[SettingsSection]) -> tuple[str, ...]:
    """Of the outermost layer first: what a host adds may lie below what its group keeps."""
    found = [each for layer in reversed(list(layers)) for each in layer.persist_directories]
    return tuple(dict.fromkeys(found))


class AmbiguousMachineError(Exception):
    """A machine matches more than one host."""
