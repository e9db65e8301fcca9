"""A host is an entry of ours; a machine is what shows up on the wire and may match one."""

from __future__ import annotations

from dataclasses import dataclass, field

from storeboot.config import Config, HostSection, NfsVersion
from storeboot.nix.store import StorePath


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


@dataclass(frozen=True, slots=True)
class Host:
    """A machine that is known, and how it boots."""

    name: str
    system: StorePath
    matchers: frozenset[str] = field(default_factory=frozenset)
    hostname: str = ""
    kernel_params: tuple[str, ...] = ()
    overlay_size: str = "50%"
    nfs_version: NfsVersion = "3"

    @classmethod
    def from_config(cls, name: str, section: HostSection, config: Config) -> Host:
        return cls(
            name=name,
            system=StorePath.from_arg(section.system),
            matchers=frozenset((*section.mac, *section.uuid, *section.serial)),
            hostname=section.hostname or name,
            kernel_params=section.kernel_params,
            overlay_size=section.overlay_size,
            nfs_version=section.nfs_version or config.nfs.version,
        )

    def matches(self, machine: Machine) -> bool:
        said = {machine.mac, machine.uuid, machine.serial} - {""}
        return not self.matchers.isdisjoint(said)


class AmbiguousMachineError(Exception):
    """A machine matches more than one host."""


@dataclass(frozen=True, slots=True)
class Hosts:
    """All hosts, by name."""

    by_name: dict[str, Host]

    @classmethod
    def from_config(cls, config: Config) -> Hosts:
        return cls(
            {name: Host.from_config(name, part, config) for name, part in config.hosts.items()}
        )

    def find(self, machine: Machine) -> Host | None:
        found = [host for host in self.by_name.values() if host.matches(machine)]
        if len(found) > 1:
            names = " and ".join(sorted(host.name for host in found))
            raise AmbiguousMachineError(f"{machine} matches {names}")
        return found[0] if found else None
