"""What the boot service knows and decides; HTTP is only how it is asked."""

from __future__ import annotations

import asyncio
import hmac
import secrets
from collections.abc import Callable
from dataclasses import dataclass, field
from hashlib import blake2b
from pathlib import Path

import structlog

from storeboot.boot.plan import Plan, make_plan
from storeboot.config import Config
from storeboot.errors import StorebootError
from storeboot.hosts.boots import Boot, Boots, Event
from storeboot.hosts.host import AmbiguousMachineError, Host, Hosts, Machine
from storeboot.initrd.builder import Initrd, build, find_busybox
from storeboot.nfs.handle import HandleCodec, MountToken
from storeboot.nfs.views import view_id
from storeboot.nix.store import Store, StorePath
from storeboot.nix.system import System, read_system
from storeboot.serve.state import StateDirectory, ViewRecord

log = structlog.get_logger()


class RefusedError(Exception):
    """A machine asked for what it may not have; the reason is for its console."""


@dataclass(frozen=True, slots=True)
class Assignment:
    """A system that at least one host boots, with all that is served of it."""

    system: System
    view: ViewRecord
    initrd: Initrd


@dataclass(slots=True)
class BootService:
    """Hosts, their assignments, their boots."""

    config: Config
    hosts: Hosts
    boots: Boots
    state: StateDirectory
    store: Store
    key: bytes
    clock: Callable[[], float]
    assignments: dict[StorePath, Assignment] = field(default_factory=dict)
    faults: dict[str, StorebootError] = field(default_factory=dict)  # by host
    commands: dict[str, str] = field(default_factory=dict)
    changed: asyncio.Condition = field(default_factory=asyncio.Condition)

    @property
    def url(self) -> str:
        return f"http://{self.config.server.address}:{self.config.http.port}"

    def assign(self, progress: Callable[[str], None] = lambda _text: None) -> None:
        """Read every host's system, root its closure and build its initrd; blocking.

        A host whose system cannot be served is left out and said; that none can is an error.
        """
        busybox = find_busybox(self.config.initrd.busybox)
        for host in self.hosts.by_name.values():
            try:
                self._assign(host, busybox, progress)
            except StorebootError as error:
                self.faults[host.name] = error
                log.error("host.cannot_boot", host=host.name, reason=error.message, hint=error.hint)
        if len(self.faults) == len(self.hosts.by_name):
            raise next(iter(self.faults.values()))

    def _assign(self, host: Host, busybox: Path, progress: Callable[[str], None]) -> None:
        if host.system not in self.assignments:
            system = read_system(self.store, host.system)
            for trait in system.traits:
                log.info("system.trait", system=str(host.system), name=trait.name,
                         treatment=trait.treatment.value, reason=trait.reason)  # fmt: skip
            view = self.state.add_view(self.store, host.system)
            initrd = build(
                system,
                busybox=busybox,
                drivers=self.config.initrd.drivers,
                cache=self.state.initrds,
                progress=progress,
            )
            self.assignments[host.system] = Assignment(system, view, initrd)
        self.plan(host).command_line(self.url)  # too long is an error now, not at a boot

    def plan(self, host: Host) -> Plan:
        assignment = self.assignments[host.system]
        return make_plan(host, assignment.system, assignment.view.view_id, self.key)

    def find(self, machine: Machine) -> Host:
        try:
            host = self.hosts.find(machine)
        except AmbiguousMachineError as error:
            raise RefusedError(str(error)) from None
        if host is None:
            raise RefusedError(f"no host has mac {machine.mac}, uuid {machine.uuid}")
        return host

    def by_view(self, view: str) -> Assignment | None:
        """Only views of assigned systems are served."""
        for assignment in self.assignments.values():
            if assignment.view.view_id == view:
                return assignment
        return None

    def alias_of(self, address: str) -> bytes | None:
        """The view that a machine with this address mounts by the alias' name.

        Also before systems are assigned, for a machine that comes back while the server starts.
        """
        if not self.config.nfs.alias:
            return None
        for name, host in self.config.hosts.items():
            if address in host.address:
                return view_id([self.hosts.by_name[name].system.text])
        return None

    def script(self, machine: Machine) -> tuple[Host, str]:
        host = self.find(machine)
        if host.name in self.faults:
            raise RefusedError(f"host {host.name} cannot boot: {self.faults[host.name].message}")
        return host, self.plan(host).script(self.url)

    def begin(
        self, *, host_name: str, view: str, nonce: str, machine: Machine, address: str
    ) -> Boot:
        """A boot begins. The same nonce is the same boot, and only its own view is given."""
        host = self.hosts.by_name.get(host_name)
        if host is None or not host.matches(machine):
            raise RefusedError(f"this machine is not host {host_name}")
        assignment = self.by_view(view)
        if assignment is None or assignment.system.toplevel != host.system:
            raise RefusedError(f"host {host_name} may not boot view {view}")
        now = self.clock()
        boot = Boot(
            id=secrets.token_hex(8),
            host=host.name,
            view=view,
            system=host.system.text,
            nonce=nonce,
            machine=f"{machine.mac} {machine.uuid} {machine.serial}",
            address=address,
            began_at=now,
            seen_at=now,
        )
        begun = self.boots.begin(boot)
        if (begun.host, begun.view) != (boot.host, boot.view):
            raise RefusedError("this nonce belongs to another boot")
        return begun

    def is_replay(self, boot: Boot) -> bool:
        """Once the machine has gone on, its first answer, keys included, is not given again."""
        return any(event.source != "server" for event in self.boots.events_of(boot.id))

    def answer(self, boot: Boot) -> dict[str, str]:
        """What a machine needs to go on: `key=value` lines, values without white space."""
        host = self.hosts.by_name[boot.host]
        codec = HandleCodec(self.key)
        token = MountToken(bytes.fromhex(boot.view), bytes.fromhex(boot.id))
        return {
            "boot": boot.id,
            "key": self.agent_key(boot.id),
            "token": codec.encode_token(token),
            "time": str(int(self.clock())),
            "hostname": host.hostname,
            "machine_id": self.plan(host).machine_id,
            "nfs_server": self.config.server.address,
            "nfs_port": str(self.config.nfs.port),
            "nfs_version": host.nfs_version,
            "overlay_size": host.overlay_size,
            "heartbeat": str(self.config.agent.heartbeat),
        }

    def agent_key(self, boot: str) -> str:
        """What a boot's agent proves itself with; derived, so that nothing has to be kept."""
        return blake2b(boot.encode(), key=self.key, person=b"sb-agent", digest_size=16).hexdigest()

    def authorised(self, boot: str, key: str) -> bool:
        return hmac.compare_digest(self.agent_key(boot).encode(), key.encode(errors="replace"))

    async def record(self, event: Event) -> None:
        """Events are few and small; waiters are told of each."""
        self.boots.record(event)
        if event.boot is not None:
            self.boots.touch(event.boot, event.at)
            if event.stage == "shutdown":
                self.boots.end(event.boot, event.at)
        log.info("boot.event", host=event.host, boot=event.boot, stage=event.stage,
                 detail=event.detail.partition("\n")[0] or None)  # fmt: skip
        await self.notify()

    async def notify(self) -> None:
        async with self.changed:
            self.changed.notify_all()


def open_service(config: Config, boots: Boots, clock: Callable[[], float]) -> BootService:
    """A service without assignments yet."""
    if not config.hosts:
        raise StorebootError(
            "no hosts are configured", "add a [hosts.NAME] with mac and system to the configuration"
        )
    state = StateDirectory(config.server.state_directory)
    return BootService(
        config=config,
        hosts=Hosts.from_config(config),
        boots=boots,
        state=state,
        store=Store(config.store.root),
        key=state.key(),
        clock=clock,
    )
