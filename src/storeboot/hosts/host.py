"""A host is an entry of ours; a machine is what shows up on the wire and may match one."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field, replace

from storeboot.config import Config, HostSection, NfsVersion, SettingsSection, is_shared
from storeboot.nix.store import StorePath

OVERLAY_SIZE = "50%"
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
        """MAC with `:` or `-`, in either case."""
        plain = mac.lower().replace("-", ":")
        said = (label for label in labels if label.partition("=")[2])
        return cls(plain, uuid.lower(), serial, tuple(sorted(said)))

    @property
    def matchers(self) -> frozenset[str]:
        """What it can be known by; what many boards say alike is left out."""
        said = {self.mac, self.uuid, self.serial, *self.labels}
        return frozenset(said - {""} - self.shared)

    @property
    def shared(self) -> frozenset[str]:
        words = (self.uuid, self.serial, *self.labels)
        return frozenset(said for said in words if said and is_shared(said.rpartition("=")[2]))


@dataclass(frozen=True, slots=True)
class Host:
    """A machine that is known, and how it boots: its own settings over its group's and defaults."""

    name: str
    system: StorePath | None = None  # what the configuration gives it
    matchers: frozenset[str] = field(default_factory=frozenset)
    hostname: str = ""
    kernel_params: tuple[str, ...] = ()
    overlay_size: str = OVERLAY_SIZE
    nfs_version: NfsVersion = "3"
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
        systems = (layer.system for layer in layers if layer.system)
        sizes = (layer.overlay_size for layer in layers if layer.overlay_size)
        versions = (layer.nfs_version for layer in layers if layer.nfs_version)
        named = (layer.specialisation for layer in layers if layer.specialisation)
        menus = (layer.menu for layer in layers if layer.menu is not None)
        keys = (layer.ssh_host_key for layer in layers if layer.ssh_host_key is not None)
        system = next(systems, None)
        return cls(
            name=name,
            system=StorePath.from_arg(system) if system else None,
            matchers=frozenset(section.matchers),
            hostname=section.hostname or name,
            kernel_params=(
                *config.defaults.kernel_params,
                *group.kernel_params,
                *section.kernel_params,
            ),
            overlay_size=next(sizes, OVERLAY_SIZE),
            nfs_version=next(versions, config.nfs.version),
            ssh_host_key=next(keys, True),
            specialisation=next(named, None),
            menu=next(menus, None),
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
    def profile(self) -> str:
        """The host whose generations it boots."""
        return self.like or self.name

    def matches(self, machine: Machine) -> bool:
        return not self.matchers.isdisjoint(machine.matchers)


class AmbiguousMachineError(Exception):
    """A machine matches more than one host."""
