"""A host is an entry of ours. A machine is what shows up on the wire, and may match a host."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from storeboot.config import (
    SERIAL,
    BootSettings,
    Config,
    HostSection,
    SettingsSection,
    is_shared,
    merged,
    settings_of,
    told,
)
from storeboot.errors import ConfigError
from storeboot.hosts import words
from storeboot.nix.store import StorePath

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
        """Take the MAC with `:` or `-`, in either case, and drop what a terminal would act on."""
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
        """What it can be known by, without what many boards say alike."""
        said = {self.mac, self.uuid, self.serial, *self.labels}
        return frozenset(said - {""} - self.shared)

    @property
    def shared(self) -> frozenset[str]:
        words = {word: word for word in (self.uuid, self.serial) if word}
        words |= {label: label.partition("=")[2] for label in self.labels}
        return frozenset(said for said, value in words.items() if is_shared(value))


class Host(BootSettings):
    """A machine that is known, and how it boots: the settings of all layers in one."""

    name: str
    system: StorePath | None = None  # what the configuration gives it
    matchers: frozenset[str] = frozenset()
    macs: tuple[str, ...] = ()  # of its boot NICs, the first one first
    addresses: tuple[str, ...] = ()
    hostname: str = ""
    like: str | None = None  # the host whose generations an unknown machine boots
    group: str | None = None
    declared: bool = True  # in the configuration file, not added by command

    @classmethod
    def from_config(
        cls, name: str, section: HostSection, config: Config, *, declared: bool = True
    ) -> Host:
        """Merge a host's own settings with its group's and the defaults.

        Raises ConfigError if they do not go together, StoreError if the system is no store path.
        """
        group = config.groups.get(section.group or "", SettingsSection())
        settings = merged((config.defaults, group, section))
        settings.setdefault("nfs_version", config.nfs.version)
        system = settings.pop("system", None)
        host = cls(
            name=name,
            system=StorePath.from_arg(system) if system else None,
            matchers=frozenset(section.matchers),
            macs=section.mac,
            addresses=section.address,
            hostname=section.hostname or name,
            group=section.group,
            declared=declared,
            **settings,
        )
        host._check(config)
        return host

    def _check(self, config: Config) -> None:
        if self.mode == "native" and not (config.nfs.alias and self.addresses):
            raise ConfigError(
                f"host {self.name}: mode native needs nfs.alias = true and the host's address",
                "its own initrd mounts the store through the alias, and is known by its address "
                "only",
            )
        if (self.persist_label is None) != (not self.persist_directories):
            raise ConfigError(
                f"host {self.name}: persist_label and persist_directories need each other",
                "give both to the host, its group or the defaults, or none",
            )

    def for_guest(self, mac: str) -> Host:
        """Return the host of an unknown machine that boots like this one, under a name of its own.

        It gets no ssh host key: any number of machines may call themselves so.
        """
        name = f"{self.name[:MAX_BASE]}-{mac.replace(':', '')}"
        own = {"name": name, "hostname": name, "matchers": frozenset({mac}), "like": self.name}
        return self.model_copy(update={**own, "ssh_host_key": False, "declared": False})

    def answered(self) -> dict[str, str]:
        """Return the settings that the machine is told at its begin, as its scripts read them."""
        return {
            name: told(getattr(self, name))
            for name, setting in settings_of(BootSettings).items()
            if setting.use.answered
        }

    def modules(self) -> set[str]:
        """Return what the initrd must contain for what is set: fields of initrd.modules.Needs."""
        return {
            setting.use.modules
            for name, setting in settings_of(BootSettings).items()
            if setting.use.modules and getattr(self, name)
        }

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


class AmbiguousMachineError(Exception):
    """A machine matches more than one host."""
