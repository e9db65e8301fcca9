"""The TFTP directories of Raspberry Pis, kept up with what their hosts boot next."""

from __future__ import annotations

import hashlib
import re
import shutil
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path

import structlog

from storeboot.boot.plan import ticket
from storeboot.deploy.inventory import Inventory
from storeboot.deploy.systems import Assignment
from storeboot.dhcp.raspberry import COMMAND_LINE, INITRD, KERNEL, config_txt, directory
from storeboot.errors import StorebootError
from storeboot.hosts.host import Host

log = structlog.get_logger()

# A board that has read config.txt goes on with what that has named, for this long at least.
KEPT_SECONDS = 600.0
_NAME = re.compile(r"[0-9a-f]{8}")
_LEFT, _SHARED = ".left", ".shared"


@dataclass(slots=True)
class Boards:
    """`root` is the directory that TFTP shows; `firmware` what every board's directory has."""

    inventory: Inventory
    root: Path
    firmware: Path
    _faults: dict[str, str] = field(default_factory=dict)  # by host, as they were told

    def update(self, hosts: Iterable[Host], now: float) -> None:
        """Blocking. A host that cannot boot keeps what it had."""
        names = set()
        for host in hosts:
            name = directory(host.serials)
            if name is None:
                continue
            names.add(name)
            try:
                self._update(host, self.root / name, now)
            except (StorebootError, OSError, ValueError) as error:
                self._complain(host.name, str(error))
            else:
                self._faults.pop(host.name, None)
        self._remove_others(names)
        shared = self.root / _SHARED
        for copy in shared.iterdir() if shared.is_dir() else ():
            if copy.stat().st_nlink == 1:
                copy.unlink()

    def _complain(self, host: str, reason: str) -> None:
        """Once, and again when it is another reason."""
        if self._faults.get(host) != reason:
            self._faults[host] = reason
            log.error("raspberry.not_updated", host=host, reason=reason)

    def _remove_others(self, names: set[str]) -> None:
        """Boards that are nobody's any more."""
        for place in self.root.iterdir():
            if _NAME.fullmatch(place.name) and place.is_dir() and place.name not in names:
                shutil.rmtree(place)

    def _update(self, host: Host, place: Path, now: float) -> None:
        inventory = self.inventory
        system = inventory.deployments.current(host.name)
        if system is None:
            return
        assignment = inventory.systems.prepare(inventory.systems.booted(host, system), host)
        line = self._command_line(host, assignment)
        said = f"{assignment.system.toplevel} {assignment.initrd.path.name} {line}"
        prefix = hashlib.sha256(said.encode()).hexdigest()[:16]
        place.mkdir(parents=True, exist_ok=True)
        self._link_firmware(place)
        if not (place / prefix).is_dir():
            self._fill(place / prefix, assignment, line)
        (place / prefix / _LEFT).unlink(missing_ok=True)
        own = self.firmware / "config.txt"
        text = config_txt(prefix, own.read_text() if own.is_file() else "")
        chosen = place / "config.txt"
        if not chosen.is_file() or chosen.read_text() != text:
            _replace(chosen, text)
            log.info("raspberry.updated", host=host.name, system=str(assignment.system.toplevel))
        _forget(place, prefix, now)

    def _command_line(self, host: Host, assignment: Assignment) -> str:
        """As iPXE would hand it over; who the board is, its serial number says."""
        plan = self.inventory.systems.plan(host, assignment)
        url = self.inventory.url_towards(self._local(host))
        seal = ticket(host.name, "", self.inventory.systems.key)
        return f"{plan.command_line(url)} storeboot.ticket={seal}"

    def _local(self, host: Host) -> str:
        """The server's address on the network that the host's own address is in."""
        networks = self.inventory.config.networks.values()
        inside = (network.own for network in networks if network.has(host.addresses))
        return next(inside, next((network.own for network in networks), ""))

    def _link_firmware(self, place: Path) -> None:
        for file in self.firmware.iterdir():
            link = place / file.name
            if file.name == "config.txt" or (link.is_symlink() and link.readlink() == file):
                continue
            link.unlink(missing_ok=True)
            link.symlink_to(file)

    def _fill(self, place: Path, assignment: Assignment, line: str) -> None:
        """Whole under its name, and never changed again."""
        partial = place.with_name(f".{place.name}.partial")
        shutil.rmtree(partial, ignore_errors=True)
        partial.mkdir()
        self._share(assignment.system.kernel, partial / KERNEL)
        self._share(assignment.initrd.path, partial / INITRD)
        _replace(partial / COMMAND_LINE, line + "\n")
        trees = assignment.system.device_trees
        for file in sorted(trees.rglob("*.dtb*")) if trees is not None else ():
            goal = partial / ("overlays" if file.parent.name == "overlays" else "") / file.name
            goal.parent.mkdir(exist_ok=True)
            self._share(file, goal)
        partial.rename(place)

    def _share(self, source: Path, goal: Path) -> None:
        """One copy for all boards: the paths that systems have never change what they hold."""
        name = hashlib.sha256(str(source).encode()).hexdigest()[:32]
        copy = self.root / _SHARED / name
        copy.parent.mkdir(exist_ok=True)
        if not copy.exists():
            partial = copy.with_name(f"{name}.partial")
            shutil.copyfile(source, partial)
            partial.chmod(0o644)
            partial.replace(copy)
        goal.hardlink_to(copy)


def _forget(place: Path, prefix: str, now: float) -> None:
    """What no board has been led to for a while."""
    for old in place.iterdir():
        is_ours = old.is_dir() and not old.is_symlink() and (old / COMMAND_LINE).is_file()
        if not is_ours or old.name == prefix:
            continue
        mark = old / _LEFT
        if not mark.exists():
            mark.write_text(f"{now}\n")
        elif now - float(mark.read_text()) > KEPT_SECONDS:
            shutil.rmtree(old)


def _replace(file: Path, text: str) -> None:
    partial = file.with_name(f".{file.name}.partial")
    partial.write_text(text)
    partial.chmod(0o644)  # dnsmasq shows nothing else as root
    partial.replace(file)
