"""Checks a configuration together with the files that it names, without a server and a state
directory."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

from storeboot.config import Config
from storeboot.dhcp.firmware import find_programs, require_kinds
from storeboot.errors import StorebootError
from storeboot.hosts.database import Database, database_url
from storeboot.hosts.host import Host
from storeboot.nix.store import Store, StorePath
from storeboot.nix.system import read_system, specialisations

_DIRECTORIES = frozenset({"dhcp.raspberry_firmware"})


def faults(config: Config, *, with_files: bool) -> list[StorebootError]:
    """Return what would keep the server from starting or a host from booting.

    Without `with_files` nothing is read but the configuration itself. Nothing is changed.
    """
    checks: list[Callable[[], object]] = [
        lambda: Database(database_url(config)).dispose(),
        lambda: require_kinds(config.dhcp.ipxe),
        *(partial(_require_host, config, name, with_files=with_files) for name in config.hosts),
    ]
    if with_files:
        checks += [lambda: find_programs(config.dhcp.ipxe), *_require_places(config)]
    found: dict[str, StorebootError] = {}
    for check in checks:
        try:
            check()
        except StorebootError as error:
            found.setdefault(error.message, error)
    return list(found.values())


def _require_host(config: Config, name: str, *, with_files: bool) -> None:
    """Check a host with its group and the defaults."""
    host = Host.from_config(name, config.hosts[name], config)
    if with_files and host.system is not None:
        _require_bootable(Store(config.store.root), host, host.system)


def _require_bootable(store: Store, host: Host, system: StorePath) -> None:
    try:
        read_system(store, system)
        if host.specialisation is not None:
            special = specialisations(store, system)
            if host.specialisation not in special:
                raise StorebootError(
                    f"{system} has no specialisation {host.specialisation!r}",
                    f"it has {', '.join(special) or 'none'}",
                )
    except StorebootError as error:
        raise StorebootError(f"host {host.name}: {error.message}", error.hint) from None


def _require_places(config: Config) -> Iterator[Callable[[], object]]:
    """Yield a check for each file and directory that a setting names."""
    given = {
        "initrd.busybox": config.initrd.busybox,
        "dhcp.dnsmasq": config.dhcp.dnsmasq,
        "dhcp.raspberry_firmware": config.dhcp.raspberry_firmware,
        **{f"initrd.busyboxes.{name}": at for name, at in config.initrd.busyboxes.items()},
    }
    for setting, place in given.items():
        if place is not None and place.is_absolute():  # others are looked for on PATH
            yield partial(_require, setting, place, is_directory=setting in _DIRECTORIES)


def _require(setting: str, place: Path, *, is_directory: bool) -> None:
    kind = "directory" if is_directory else "file"
    if not (place.is_dir() if is_directory else place.is_file()):
        raise StorebootError(f"{setting}: {place} is not a {kind}", f"correct {setting}")
