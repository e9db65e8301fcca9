"""A host is an entry of storeboot's; a machine appears on the network, and may match a host."""

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
    normal_label,
    normal_mac,
    normal_serial,
    normal_uuid,
    settings_of,
    spellings,
    told,
)
from storeboot.errors import ConfigError, StoreError
from storeboot.hosts import words
from storeboot.nix.store import StorePath

MAX_WORD = 255  # characters
MAX_BASE = 50  # characters of a host name before -525400123456


@dataclass(frozen=True, slots=True)
class Machine:
    """How a machine identifies itself; "" for anything that it does not send."""

    mac: str = ""
    uuid: str = ""
    serial: str = ""
    labels: tuple[str, ...] = ()  # NAME=VALUE

    @classmethod
    def from_words(cls, mac: str, uuid: str, serial: str, labels: Iterable[str] = ()) -> Machine:
        """Accept every spelling that hosts may have, and remove what a terminal would act on.

        The serial number stays as it was sent, for people; matchers have its normal form.
        """
        said = (words.line(label.strip(), 2 * MAX_WORD) for label in labels)
        return cls(
            words.line(normal_mac(mac), MAX_WORD),
            words.line(normal_uuid(uuid), MAX_WORD),
            words.line(serial.strip(), MAX_WORD),
            tuple(sorted(label for label in said if label.partition("=")[2])),
        )

    @property
    def matchers(self) -> frozenset[str]:
        """Return the strings by which a host can be recognised, without those that many boards
        have.

        A UUID is among them in both byte orders. Hosts that were added before matchers had a normal
        form are recognised by what the machine sends.
        """
        said = {self.mac, self.serial, *self.labels} - {""} - self.shared
        normal = {normal_serial(self.serial), *map(normal_label, self.labels)}
        kept = {each for each in normal if not is_shared(each.partition("=")[2] or each)}
        uuids = {self.uuid} - {""} - self.shared
        return frozenset(said | kept).union(*map(spellings, uuids))

    @property
    def shared(self) -> frozenset[str]:
        words = {word: word for word in (self.mac, self.uuid, self.serial) if word}
        words |= {label: label.partition("=")[2] for label in self.labels}
        return frozenset(said for said, value in words.items() if is_shared(value))


class Host(BootSettings):
    """A known machine and how it boots: the merged settings of all layers."""

    name: str
    system: StorePath | None = None  # the one that the configuration declares
    matchers: frozenset[str] = frozenset()
    macs: tuple[str, ...] = ()  # of its boot NICs, in order
    addresses: tuple[str, ...] = ()
    hostname: str = ""
    like: str | None = None  # for a guest host: the host whose generations it boots
    group: str | None = None
    declared: bool = True  # whether it is in the configuration file, and not added by command

    @classmethod
    def from_config(
        cls, name: str, section: HostSection, config: Config, *, declared: bool = True
    ) -> Host:
        """Merge a host's own settings with those of its group and the defaults.

        Raises ConfigError if they do not fit together, and StoreError if the system is no store
        path.
        """
        group = config.groups.get(section.group or "", SettingsSection())
        settings = merged((config.defaults, group, section))
        settings.setdefault("nfs_version", config.nfs.version)
        system = settings.pop("system", None)
        host = cls(
            name=name,
            system=_toplevel(name, system) if system else None,
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
        """Return the guest host of an unknown machine that boots like this host.

        It gets no ssh host key, because any number of machines may claim its name.
        """
        name = f"{self.name[:MAX_BASE]}-{mac.replace(':', '')}"
        own = {"name": name, "hostname": name, "matchers": frozenset({mac}), "like": self.name}
        return self.model_copy(update={**own, "ssh_host_key": False, "declared": False})

    def answered(self) -> dict[str, str]:
        """Return the settings that the answer to a boot contains, in the form that scripts read."""
        return {
            name: told(getattr(self, name))
            for name, setting in settings_of(BootSettings).items()
            if setting.use.answered
        }

    def modules(self) -> set[str]:
        """Return what the initrd must contain for these settings: fields of
        initrd.modules.Needs."""
        return {
            setting.use.modules
            for name, setting in settings_of(BootSettings).items()
            if setting.use.modules and getattr(self, name)
        }

    @property
    def serials(self) -> tuple[str, ...]:
        """Return the serial numbers in the form of Raspberry Pis, in the case that these use."""
        return tuple(sorted(filter(SERIAL.fullmatch, map(str.lower, self.matchers))))

    @property
    def profile(self) -> str:
        """Return the name of the host whose generations it boots."""
        return self.like or self.name

    def matches(self, machine: Machine) -> bool:
        return not self.matchers.isdisjoint(machine.matchers)


def _toplevel(host: str, text: str) -> StorePath:
    """Return the store path that a host's `system` names."""
    try:
        return StorePath.from_arg(text)
    except StoreError as error:
        raise StoreError(f"host {host}: {error.message}", error.hint) from None


class AmbiguousMachineError(Exception):
    """A machine matches more than one host."""
