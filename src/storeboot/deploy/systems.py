"""Prepares systems to be booted: reads and checks them, roots their views, builds their initrds."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

import structlog

from storeboot import files
from storeboot.boot.plan import Plan, make_plan
from storeboot.config import Config
from storeboot.deploy.packs import Packs
from storeboot.deploy.state import StateDirectory, ViewRecord
from storeboot.deploy.tidying import tidy
from storeboot.errors import StorebootError
from storeboot.findings import Level
from storeboot.hosts.host import Host
from storeboot.initrd.builder import Initrd, build, check, own
from storeboot.initrd.busybox import find_busybox
from storeboot.initrd.facter import devices
from storeboot.initrd.modules import Needs
from storeboot.nfs.views import view_id
from storeboot.nix.store import Store, StorePath
from storeboot.nix.system import System, broken_specialisations, read_system, specialisations

log = structlog.get_logger()
PATIENCE = 600.0  # seconds; an initrd and a pack of a large system take a minute or two
_SPACE = "look at the disk of the state directory: df, dmesg"


@dataclass(frozen=True, slots=True)
class Assignment:
    """A system that hosts boot, with everything that is served of it."""

    system: System
    view: ViewRecord
    initrd: Initrd


@dataclass(slots=True)
class Systems:
    """Prepared systems. All of them can be prepared again from the state directory."""

    config: Config
    state: StateDirectory
    store: Store
    key: bytes
    ready: dict[tuple[StorePath, Needs | None], Assignment] = field(default_factory=dict)
    packs: Packs = field(init=False)
    making: dict[StorePath, threading.Lock] = field(default_factory=dict)
    guard: threading.Lock = field(default_factory=threading.Lock)

    def __post_init__(self) -> None:
        self.packs = Packs(self.config.packs, self.state, self.store)

    def needs(self, host: Host | None) -> Needs | None:
        """Return what the host's initrd must contain, or None if the system's own initrd is
        used."""
        drivers = self.config.initrd.drivers
        if host is not None and host.mode == "native":
            return None
        if host is None:
            return Needs(drivers)
        named = host.drivers or drivers
        known = () if named else devices(self.state.hardware_report(host.name))
        return Needs(named, devices=known, **dict.fromkeys(host.modules(), True))

    def prepare(
        self,
        toplevel: StorePath,
        host: Host | None = None,
        progress: Callable[[str], None] = lambda _text: None,
    ) -> Assignment:
        """Prepare a system, and return it when all of it is on disk. Blocking.

        What was built before is found in the state directory, without any write.
        """
        with self._alone(toplevel), files.reported(f"cannot prepare {toplevel}", _SPACE):
            return self._prepare(toplevel, host, progress)

    @contextmanager
    def _alone(self, toplevel: StorePath) -> Iterator[None]:
        """Let one thread of this process prepare a system; the others wait and find it prepared."""
        with self.guard:
            lock = self.making.setdefault(toplevel, threading.Lock())
        if not lock.acquire(timeout=PATIENCE):
            raise StorebootError(
                f"preparing {toplevel} takes longer than {PATIENCE:.0f} s",
                "check the load of the server and its disks, and try again",
            )
        try:
            yield
        finally:
            lock.release()

    def _prepare(
        self, toplevel: StorePath, host: Host | None, progress: Callable[[str], None]
    ) -> Assignment:
        needs = self.needs(host)
        found = self._still(toplevel, needs)
        if found is not None:
            self._pack_for(host, found.view, progress)
            return found
        system = read_system(self.store, toplevel)
        _log_findings(system)
        view = self.rooted(toplevel)
        initrd = own(system) if needs is None else self._build(system, needs, progress)
        self._pack_for(host, view, progress)
        self._database_for(view)
        self.ready[toplevel, needs] = Assignment(system, view, initrd)
        return self.ready[toplevel, needs]

    def judge(self, toplevel: StorePath, host: Host) -> Plan:
        """Return how the host would boot the system, or raise the error of `prepare`.

        Nothing is written: the view has no root yet, so a garbage collection may overtake this.
        """
        system = read_system(self.store, toplevel)
        _log_findings(system)
        self.store.closure(toplevel)  # an error if Nix does not know all of it
        needs = self.needs(host)
        if needs is None:
            own(system)
        else:
            initrds = self.config.initrd
            find_busybox(system.machine, initrds.busybox, initrds.busyboxes)
            check(system, needs)
        return make_plan(host, system, view_id([toplevel.text]).hex(), self.key)

    def rooted(self, toplevel: StorePath) -> ViewRecord:
        """Return the view of a system; if there is none yet, root it and record it. Blocking."""
        with self.state.locks.roots():
            return self.state.views.add(self.store, toplevel)

    def _build(self, system: System, needs: Needs, progress: Callable[[str], None]) -> Initrd:
        initrds = self.config.initrd
        busybox = find_busybox(system.machine, initrds.busybox, initrds.busyboxes)
        cache = self.state.initrds
        return build(system, busybox=busybox, needs=needs, cache=cache, progress=progress)

    def _pack_for(
        self, host: Host | None, view: ViewRecord, progress: Callable[[str], None]
    ) -> None:
        if self._lacks_pack(host, view):
            self.packs.prepare(view, progress)

    def _lacks_pack(self, host: Host | None, view: ViewRecord) -> bool:
        wanted = host is not None and host.mode == "pack"
        return wanted and not self.packs.was_tried(view.view_id)

    def _database_for(self, view: ViewRecord) -> None:
        """Build Nix's database of a view. Without it, machines build it themselves once they are
        up."""
        try:
            self.state.views.database(view)
        except (StorebootError, OSError) as error:
            log.error("nix.no_database", view=view.view_id, reason=str(error))

    def get(self, toplevel: StorePath, host: Host | None = None) -> Assignment | None:
        """Return a prepared system, or None; only if its view is rooted and its files exist."""
        found = self._still(toplevel, self.needs(host))
        return None if found is not None and self._lacks_pack(host, found.view) else found

    def _still(self, toplevel: StorePath, needs: Needs | None) -> Assignment | None:
        found = self.ready.get((toplevel, needs))
        if found is None:
            return None
        if self.state.views.is_rooted(found.view.view_id) and found.initrd.is_whole():
            return found
        self.ready.pop((toplevel, needs), None)
        return None

    def any_of(self, view: str) -> Assignment | None:
        """Return a prepared system of a view, or None, whichever initrd it has."""
        for (toplevel, needs), assignment in list(self.ready.items()):
            if assignment.view.view_id == view:
                return self._still(toplevel, needs)
        return None

    def toplevel(self, text: str) -> StorePath:
        """Return the system for what was typed: a store path, or a link to one, such as ./result or
        a profile."""
        return self.store.named(text)

    def of_view(self, view: str) -> StorePath | None:
        """Return the system of a rooted view, or None, whoever rooted it."""
        for (toplevel, _), assignment in list(self.ready.items()):
            if assignment.view.view_id == view:
                return toplevel if self.state.views.is_rooted(view) else None
        return self.state.views.toplevel(view)

    def mend(self) -> None:
        """Clean up the state directory at the start of a server.

        Views whose files are damaged or lost are rebuilt, because machines may run them. Nothing
        that is wrong here keeps the server from starting.
        """
        try:
            tidy(self.state.path)
        except OSError as error:
            log.error("state.not_cleaned_up", reason=str(error))
        for view in sorted(self.state.views.damages(lost=True)):
            try:
                self.state.views.mended(self.store, view)
            except StorebootError as error:
                log.error("view.damaged", view=view, reason=error.message, hint=error.hint)
            except OSError as error:
                log.error("view.not_read", view=view, reason=str(error))

    def choices(self, toplevel: StorePath) -> dict[str, StorePath]:
        """Return what a generation can boot: the system itself, under "", and its
        specialisations."""
        return {"": toplevel, **specialisations(self.store, toplevel)}

    def views(self, toplevel: StorePath) -> set[str]:
        """Return the ids of the views that a generation of this system can be booted with."""
        return {view_id([each.text]).hex() for each in self.choices(toplevel).values()}

    def booted(self, host: Host, toplevel: StorePath) -> StorePath:
        """Return what the host boots of a generation: its specialisation, or the system itself."""
        if host.specialisation is None:
            return toplevel
        special = specialisations(self.store, toplevel)
        if host.specialisation not in special:
            fault = broken_specialisations(self.store, toplevel).get(host.specialisation)
            raise StorebootError(
                f"{toplevel} has no specialisation {host.specialisation!r}, which host "
                f"{host.name} boots{f': its link {fault}' if fault else ''}",
                f"it has {', '.join(special) or 'none'}",
            )
        return special[host.specialisation]

    def plan(self, host: Host, assignment: Assignment) -> Plan:
        return make_plan(host, assignment.system, assignment.view.view_id, self.key)


def _log_findings(system: System) -> None:
    for each in system.findings:
        said = {"id": each.id, "name": each.subject, "reason": each.message}
        if each.level is Level.WARNING:
            log.warning("system.trait", system=str(system.toplevel), **said, hint=each.cure)
        else:
            log.info("system.trait", system=str(system.toplevel), **said)
