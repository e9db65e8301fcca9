"""All hosts: those declared in the configuration file, and those added by command.

Neither kind overwrites the other: a name or a matcher belongs to one host of either kind.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Mapping

import structlog
from pydantic import ValidationError
from sqlalchemy import Connection, delete, insert, select

from storeboot.config import LABEL, Config, HostSection, check_host, faults, listed, spellings
from storeboot.errors import StorebootError
from storeboot.hosts.database import Database, DatabaseAwayError
from storeboot.hosts.host import MAX_BASE, AmbiguousMachineError, Host, Machine
from storeboot.hosts.schema import hosts, matchers
from storeboot.hosts.unknown import UnknownMachines

log = structlog.get_logger()
_GUEST = re.compile(r"(.+)-([0-9a-f]{12})")


class Registry:
    """All hosts. Declared ones are in memory, by name and matcher; added ones in the database."""

    def __init__(self, config: Config, database: Database) -> None:
        self._config = config
        self._database = database
        self._unknown = UnknownMachines(database)
        self._declared = {
            name: Host.from_config(name, part, config) for name, part in config.hosts.items()
        }
        self._owners = {
            matcher: host for host in self._declared.values() for matcher in host.matchers
        }
        self._made: dict[str, tuple[str, Host]] = {}  # added hosts, by name and settings
        self._at: tuple[Mapping[str, str], dict[str, Host]] | None = None  # hosts by address

    def get(self, name: str) -> Host | None:
        if name in self._declared:
            return self._declared[name]
        settings = self._settings(name)
        return self._make(name, settings) if settings is not None else self._guest(name)

    def _guest(self, name: str) -> Host | None:
        """Return the guest host with this made-up name, or None if no such machine was seen."""
        match = _GUEST.fullmatch(name)
        if match is None or self._config.machines.unknown not in ("menu", "default"):
            return None
        mac = ":".join(re.findall("..", match[2]))
        base = next((each for each in self._bases() if each.name[:MAX_BASE] == match[1]), None)
        return base.for_guest(mac) if base is not None and self._unknown.has_seen(mac) else None

    def _bases(self) -> list[Host]:
        """Return the hosts that unknown machines may boot like."""
        if self._config.machines.unknown == "menu":
            return self.all()
        name = self._config.machines.default or ""
        settings = self._settings(name)
        default = self._declared.get(name) or (self._make(name, settings) if settings else None)
        return [default] if default is not None else []

    def guest(self, machine: Machine, like: str) -> Host | None:
        """Return the guest host of an unknown machine that boots like `like`, or None if it may
        not."""
        base = next((each for each in self._bases() if each.name == like), None)
        return base.for_guest(machine.mac) if base is not None else None

    def labels(self) -> list[str]:
        """Return the names of the labels by which some host is recognised."""
        query = select(matchers.c.value).where(matchers.c.value.like("%=%"))
        try:
            with self._database.connect() as connection:
                added = list(connection.execute(query).scalars())
        except DatabaseAwayError:
            added = [matcher for host in self.remembered() for matcher in host.matchers]
        found = [*added, *self._owners]
        names = {value.partition("=")[0] for value in found if "=" in value}
        return sorted(name for name in names if LABEL.fullmatch(name))

    def require(self, name: str) -> Host:
        host = self.get(name)
        if host is None:
            raise StorebootError(f"no host {name!r}", _known(each.name for each in self.all()))
        return host

    def all(self) -> list[Host]:
        """Return all hosts by name. Invalid ones are logged and left out."""
        added, faulty = self._read_added()
        for name, error in faulty.items():
            log.error("host.invalid", host=name, reason=error.message)
        return sorted([*self._declared.values(), *added], key=lambda host: host.name)

    def invalid(self) -> dict[str, StorebootError]:
        """Return the added hosts that a change of the configuration made invalid, and why."""
        return self._read_added()[1]

    def _read_added(self) -> tuple[list[Host], dict[str, StorebootError]]:
        memory = self._database.memory
        try:
            with self._database.connect() as connection:
                rows = connection.execute(select(hosts.c.name, hosts.c.settings)).all()
        except DatabaseAwayError:
            if memory is None:
                raise
            return self._make_all(memory.hosts)
        found = {str(name): str(settings) for name, settings in rows}
        if memory is not None and memory.hosts != found:
            memory.hosts = found
        return self._make_all(found)

    def remembered(self) -> list[Host]:
        """Return the added hosts as they were last read, without asking the database.

        The event loop may call this. Raises DatabaseAwayError in a command, which remembers none.
        """
        memory = self._database.memory
        if memory is None:
            raise DatabaseAwayError("the database is unreachable", "try again when it is reachable")
        return self._make_all(memory.hosts)[0]

    def at(self, address: str) -> Host | None:
        """Return the host that has an address, or None; a declared host takes precedence.

        This asks only memory, so the event loop may call it.
        """
        memory = self._database.memory
        added = memory.hosts if memory is not None else {}
        if self._at is None or self._at[0] is not added:
            known = [*self._declared.values(), *self._make_all(added)[0]]
            places = {own: host for host in reversed(known) for own in host.addresses}
            self._at = (added, places)
        return self._at[1].get(address)

    def _make_all(self, found: Mapping[str, str]) -> tuple[list[Host], dict[str, StorebootError]]:
        added: list[Host] = []
        faulty: dict[str, StorebootError] = {}
        for name, settings in found.items():
            if name in self._declared:
                continue
            try:
                added.append(self._make(name, settings))
            except StorebootError as error:
                faulty[name] = error
        for name in self._made.keys() - found.keys():
            self._made.pop(name, None)
        return added, faulty

    def _make(self, name: str, settings: str) -> Host:
        """Return the host with these settings, which are parsed only once."""
        known = self._made.get(name)
        if known is not None and known[0] == settings:
            return known[1]
        host = self._host(name, _section(name, settings))
        self._made[name] = (settings, host)
        return host

    def of(self, target: str) -> list[Host]:
        """Return the host of that name, or the hosts of that group; raise an error if it is
        neither."""
        host = self.get(target)
        if host is not None and host.like is not None:
            raise StorebootError(
                f"{target} is the guest host of an unknown machine that boots like {host.like}",
                f"change {host.like}, or make it a host: storeboot host adopt",
            )
        if host is not None:
            return [host]
        found = [each for each in self.all() if each.group == target]
        if not found:
            known = _known([*(each.name for each in self.all()), *self._config.groups])
            raise StorebootError(f"no host or group with hosts {target!r}", known)
        return found

    def find(self, machine: Machine) -> Host | None:
        """Return the host that a machine is, or None; AmbiguousMachineError if it could be
        several."""
        said = machine.matchers
        names = {self._owners[matcher].name for matcher in said if matcher in self._owners}
        query = select(matchers.c.host).where(matchers.c.value.in_(said))
        try:
            with self._database.connect() as connection:
                names |= set(connection.execute(query).scalars())
        except DatabaseAwayError:
            names |= {host.name for host in self.remembered() if host.matches(machine)}
        if len(names) > 1:
            raise AmbiguousMachineError(f"{machine} matches {' and '.join(sorted(names))}")
        return self.get(names.pop()) if names else None

    def added(self, name: str) -> HostSection | None:
        """Return what commands have set for a host, or None if it was not added by command."""
        settings = self._settings(name)
        return _section(name, settings) if settings is not None else None

    def _settings(self, name: str) -> str | None:
        """Return the settings of an added host as JSON, from the database or from memory, or
        None."""
        memory = self._database.memory
        query = select(hosts.c.settings).where(hosts.c.name == name)
        try:
            with self._database.connect() as connection:
                settings: str | None = connection.execute(query).scalar()
        except DatabaseAwayError:
            if memory is None:
                raise
            return memory.hosts.get(name)
        self._note(name, settings)
        return settings

    def _note(self, name: str, settings: str | None) -> None:
        if self._database.memory is not None:
            self._database.memory.note_host(name, settings)

    def add_all(
        self,
        sections: dict[str, HostSection],
        now: float,
        *,
        places: Mapping[str, str] | None = None,
        dry_run: bool = False,
    ) -> None:
        """Add all of these hosts or none. If two clash, the error names both.

        `places` says where each host was written, for the error.
        """
        with self._database.connect() as connection, connection.begin() as transaction:
            for name, section in sections.items():
                try:
                    self._add(connection, name, section, now)
                except DatabaseAwayError:
                    raise
                except StorebootError as error:
                    if places is None:
                        raise
                    raise StorebootError(f"{places[name]}: {error.message}", error.hint) from None
            if dry_run:
                transaction.rollback()
        self._reread(sections)

    def _add(self, connection: Connection, name: str, section: HostSection, now: float) -> None:
        if name in self._declared or _exists(connection, name):
            where = "declared in the configuration" if name in self._declared else "there"
            raise StorebootError(
                f"host {name!r} is {where} already", "change it there, or take another name"
            )
        self._insert(connection, name, section, now)

    def change(self, name: str, section: HostSection, now: float, *, dry_run: bool = False) -> None:
        self.require_added(name)
        with self._database.connect() as connection, connection.begin() as transaction:
            connection.execute(delete(hosts).where(hosts.c.name == name))
            self._insert(connection, name, section, now)
            if dry_run:
                transaction.rollback()
        self._reread([name])

    def remove(self, name: str) -> None:
        self.require_added(name)
        with self._database.begin() as connection:
            connection.execute(delete(hosts).where(hosts.c.name == name))
        self._reread([name])

    def _reread(self, names: Iterable[str]) -> None:
        """Remember again what this process has changed."""
        for name in names if self._database.memory is not None else ():
            self._settings(name)

    def require_added(self, name: str) -> None:
        """Raise StorebootError unless the host was added by command."""
        if name not in self._declared and self.added(name) is None:
            self.require(name)
        if name in self._declared:
            raise StorebootError(
                f"host {name!r} is declared in the configuration", f"change [hosts.{name}] there"
            )

    def _insert(self, connection: Connection, name: str, section: HostSection, now: float) -> None:
        try:
            check_host(name, section, self._config.groups)
        except ValueError as error:
            raise StorebootError(str(error)) from None
        self._host(name, section)  # raises if the system is no store path
        connection.execute(
            insert(hosts).values(
                name=name, settings=section.model_dump_json(exclude_unset=True), added_at=now
            )
        )
        for matcher in dict.fromkeys(section.matchers):
            owner = self._owner(connection, matcher)
            if owner is not None:
                raise StorebootError(
                    f"{matcher} belongs to both {owner!r} and {name!r}",
                    "a matcher belongs to one host: remove it from one of them",
                )
            connection.execute(insert(matchers).values(value=matcher, host=name))

    def _owner(self, connection: Connection, matcher: str) -> str | None:
        forms = spellings(matcher)
        for form in forms:
            if form in self._owners:
                return self._owners[form].name
        query = select(matchers.c.host).where(matchers.c.value.in_(forms))
        owner: str | None = connection.execute(query).scalar()
        return owner

    def _host(self, name: str, section: HostSection) -> Host:
        return Host.from_config(name, section, self._config, declared=False)


class SettingsError(StorebootError):
    """Settings of a host are wrong."""

    def __init__(self, name: str, faults: list[str]) -> None:
        hint = "docs/reference/configuration.md has all settings"
        super().__init__(listed(f"host {name!r}", faults), hint)
        self.faults = faults


def read_section(name: str, values: Mapping[str, object]) -> HostSection:
    """Check settings as typed; raise SettingsError with everything that is wrong with them."""
    try:
        return HostSection.model_validate(values)
    except ValidationError as error:
        raise SettingsError(name, faults(error, HostSection)) from None


def _section(name: str, settings: str) -> HostSection:
    try:
        values = json.loads(settings)
    except ValueError as error:
        raise StorebootError(
            f"the settings of host {name!r} are damaged: {error}",
            f"storeboot host remove {name}, and add it again",
        ) from None
    return read_section(name, values)


def _exists(connection: Connection, name: str) -> bool:
    query = select(hosts.c.name).where(hosts.c.name == name)
    return connection.execute(query).first() is not None


def _known(names: Iterable[str]) -> str:
    listed = sorted(names)
    some = ", ".join(listed[:20]) + (", …" if len(listed) > 20 else "")
    return f"known: {some}" if listed else "add one: storeboot host add NAME --mac MAC"
