"""A host is an entry of ours; a machine is what shows up on the wire and may match one."""

from __future__ import annotations

from dataclasses import dataclass, field

from storeboot.config import Config, HostSection, NfsVersion, SettingsSection, is_shared
from storeboot.nix.store import StorePath

OVERLAY_SIZE = "50%"


@dataclass(frozen=True, slots=True)
class Machine:
    """What a machine says of itself; "" for what it does not say."""

    mac: str = ""
    uuid: str = ""
    serial: str = ""

    @classmethod
    def from_words(cls, mac: str, uuid: str, serial: str) -> Machine:
        """MAC with `:` or `-`, in either case."""
        plain = mac.lower().replace("-", ":")
        return cls(plain, uuid.lower(), serial)

    @property
    def matchers(self) -> frozenset[str]:
        """What it can be known by; what many boards say alike is left out."""
        return frozenset({self.mac, self.uuid, self.serial} - {""} - self.shared)

    @property
    def shared(self) -> frozenset[str]:
        return frozenset(said for said in (self.uuid, self.serial) if said and is_shared(said))


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
            group=section.group,
            declared=declared,
        )

    def matches(self, machine: Machine) -> bool:
        return not self.matchers.isdisjoint(machine.matchers)


class AmbiguousMachineError(Exception):
    """A machine matches more than one host."""
