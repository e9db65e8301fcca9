"""Keeps a TFTP directory for each Raspberry Pi, with what its host boots next."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

import structlog

from storeboot import files
from storeboot.boot.plan import ticket
from storeboot.deploy.inventory import Inventory
from storeboot.deploy.systems import Assignment
from storeboot.dhcp.raspberry import COMMAND_LINE, INITRD, KERNEL, config_txt, directory
from storeboot.errors import StorebootError
from storeboot.hosts.host import Host
from storeboot.protocol.parameters import Parameter

log = structlog.get_logger()

# A board that has read config.txt goes on to fetch the files named there. They stay at least this
# long.
KEPT_SECONDS = 600.0
_NAME = re.compile(r"[0-9a-f]{8}")
_DIRECTORY, _FILE = 0o755, 0o644  # dnsmasq runs as another user; root owns these files
_LEFT, _SHARED = ".left", ".shared"


@dataclass(slots=True)
class Boards:
    """The directories of all boards.

    `root` is the directory that TFTP serves; `firmware` has the files that every board needs.
    """

    root: Path
    firmware: Path
    _faults: dict[str, str] = field(default_factory=dict)  # last reported fault, by host

    def update(self, inventory: Inventory, hosts: Iterable[Host], now: float) -> None:
        """Bring all directories up to date. A host that cannot boot keeps its old files.
        Blocking."""
        names = set()
        for host in hosts:
            name = directory(host.serials)
            if name is None:
                continue
            names.add(name)
            try:
                self._update(inventory, host, self.root / name, now)
            except (StorebootError, OSError, ValueError) as error:
                self._complain(host.name, str(error))
            else:
                self._faults.pop(host.name, None)
        self._remove_others(names)
        shared = self.root / _SHARED
        for copy in shared.iterdir() if shared.is_dir() else ():
            if copy.stat().st_nlink == 1 and not files.is_partial(copy):
                files.remove(copy, durable=False)

    def _complain(self, host: str, reason: str) -> None:
        """Log why a host's directory was not updated, unless the last complaint said the same."""
        if self._faults.get(host) != reason:
            self._faults[host] = reason
            log.error("raspberry.not_updated", host=host, reason=reason)

    def _remove_others(self, names: set[str]) -> None:
        """Remove the directories of boards that belong to no host any more."""
        for place in self.root.iterdir():
            if _NAME.fullmatch(place.name) and place.is_dir() and place.name not in names:
                files.remove_tree(place)

    def _update(self, inventory: Inventory, host: Host, place: Path, now: float) -> None:
        system = inventory.deployments.current(host.name)
        if system is None:
            return
        assignment = inventory.systems.prepare(inventory.systems.booted(host, system), host)
        line = _command_line(inventory, host, assignment)
        said = f"{assignment.system.toplevel} {assignment.initrd.path.name} {line}"
        prefix = hashlib.sha256(said.encode()).hexdigest()[:16]
        files.make_directory(place, _DIRECTORY, durable=False)
        self._link_firmware(place)
        if not self._is_right(place / prefix, assignment, line):
            self._fill(place / prefix, assignment, line)
        files.remove(place / prefix / _LEFT, durable=False)
        own = self.firmware / "config.txt"
        text = config_txt(prefix, own.read_text() if own.is_file() else "")
        chosen = place / "config.txt"
        if not chosen.is_file() or chosen.read_text() != text:
            _write(chosen, text)
            log.info("raspberry.updated", host=host.name, system=str(assignment.system.toplevel))
        _forget(place, prefix, now)
        for left in place.glob(".*.partial"):  # left by a process that was killed
            if left.is_dir():
                files.remove_tree(left)

    def _link_firmware(self, place: Path) -> None:
        for file in self.firmware.iterdir():
            link = place / file.name
            if file.name == "config.txt" or (link.is_symlink() and link.readlink() == file):
                continue
            files.remove(link, durable=False)
            link.symlink_to(file)

    def _is_right(self, place: Path, assignment: Assignment, line: str) -> bool:
        """Return whether a boot's directory exists and all its files are unchanged.

        The files are not synced, so a power cut may have left some of them empty.
        """
        try:
            return (place / COMMAND_LINE).read_text() == line + "\n" and all(
                files.checked.same(place / name, source) for name, source in _parts(assignment)
            )
        except FileNotFoundError:
            return False

    def _fill(self, place: Path, assignment: Assignment, line: str) -> None:
        """Write a boot's directory, complete before it gets its name.

        It never changes after that unless it is damaged.
        """
        partial = place.with_name(f".{place.name}.partial")
        files.remove_tree(partial)
        files.make_directory(partial, _DIRECTORY, durable=False)
        _write(partial / COMMAND_LINE, line + "\n")
        for name, source in _parts(assignment):
            goal = partial / name
            files.make_directory(goal.parent, _DIRECTORY, durable=False)
            self._share(source, goal)
        files.remove_tree(place)
        partial.rename(place)

    def _share(self, source: Path, goal: Path) -> None:
        """Link a file into a boot's directory, from one copy for all boards.

        Sharing is safe because the contents of a store path never change.
        """
        name = hashlib.sha256(str(source).encode()).hexdigest()[:32]
        copy = self.root / _SHARED / name
        files.make_directory(copy.parent, _DIRECTORY, durable=False)
        files.copy(source, copy, _FILE)
        goal.hardlink_to(copy)


def _command_line(inventory: Inventory, host: Host, assignment: Assignment) -> str:
    """Return the kernel command line as iPXE would pass it on.

    It does not identify the board; the serial number does that.
    """
    plan = inventory.systems.plan(host, assignment)
    url = inventory.url_towards(_local(inventory, host))
    seal = ticket(host.name, "", inventory.systems.key)
    return f"{plan.command_line(url)} {Parameter.TICKET.given(seal)}"


def _local(inventory: Inventory, host: Host) -> str:
    """Return the server's address on the network that the host's own address is in."""
    networks = inventory.config.networks.values()
    inside = (network.own for network in networks if network.has(host.addresses))
    return next(inside, next((network.own for network in networks), ""))


def _parts(assignment: Assignment) -> Iterator[tuple[str, Path]]:
    """Yield the files of a boot, with their names in the boot's directory."""
    yield KERNEL, assignment.system.kernel
    yield INITRD, assignment.initrd.path
    trees = assignment.system.device_trees
    for file in sorted(trees.rglob("*.dtb*")) if trees is not None else ():
        is_overlay = file.parent.name == "overlays"
        yield (f"overlays/{file.name}" if is_overlay else file.name), file


def _forget(place: Path, prefix: str, now: float) -> None:
    """Remove the directories of boots that no board has been led to for a while."""
    for old in place.iterdir():
        is_ours = old.is_dir() and not old.is_symlink() and (old / COMMAND_LINE).is_file()
        if not is_ours or old.name == prefix:
            continue
        mark = old / _LEFT
        since = _number(mark)
        if since is None:
            _write(mark, f"{now}\n")
        elif now - since > KEPT_SECONDS:
            files.remove_tree(old)


def _number(file: Path) -> float | None:
    try:
        return float(file.read_text())
    except (FileNotFoundError, ValueError):
        return None


def _write(file: Path, text: str) -> None:
    """Write a file, without syncing it: it is derived, and checked every few seconds."""
    files.write(file, text, _FILE, durable=False)
