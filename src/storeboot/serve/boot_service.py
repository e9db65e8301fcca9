"""What the boot service knows and decides; HTTP is only how it is asked."""

from __future__ import annotations

import asyncio
import hmac
import re
import secrets
from collections.abc import Awaitable, Callable, Iterator
from dataclasses import dataclass, field
from hashlib import blake2b
from pathlib import Path

import structlog
from sqlalchemy.exc import SQLAlchemyError

from storeboot.boot.commandline import KEXEC_ROOM
from storeboot.boot.plan import machine_id, ticket
from storeboot.boot.timeline import DOWN, FAILED, REFUSED, SILENT, UP
from storeboot.config import Config
from storeboot.deploy.inventory import Inventory
from storeboot.deploy.state import StateDirectory
from storeboot.deploy.systems import Assignment
from storeboot.dhcp.journal import Seen
from storeboot.errors import StorebootError
from storeboot.hosts.boots import Boot, Boots, Event
from storeboot.hosts.host import AmbiguousMachineError, Host, Machine
from storeboot.hosts.orders import Order
from storeboot.hosts.registry import Registry
from storeboot.nfs.handle import HandleCodec, MountToken
from storeboot.nfs.views import view_id
from storeboot.pack.hot import Witness
from storeboot.serve.host_keys import host_key
from storeboot.serve.native import NativeBoots
from storeboot.serve.scripts import RefusedError, Scripts

log = structlog.get_logger()
MAX_GUEST_BOOTS = 5000  # that are remembered of unknown machines, for each host
# A boot that waits for nobody's turn any more: it is up, over, hung, or far enough to say no more.
_ON_ITS_OWN = frozenset({UP, FAILED, DOWN, SILENT, "stage-2"})
_VIEW = re.compile(r"[0-9a-f]{32}")


@dataclass(slots=True)
class BootService:
    """Hosts, what they boot, their boots."""

    inventory: Inventory
    clock: Callable[[], float]
    faults: dict[str, StorebootError] = field(default_factory=dict)  # by host, at the start
    changed: asyncio.Condition = field(default_factory=asyncio.Condition)
    scripts: Scripts = field(init=False)
    programs: dict[str, Path] = field(default_factory=dict)  # iPXE, by its name for firmware
    reads: Callable[[str], Awaitable[set[bytes]]] | None = None  # of an address, over NFS
    native: NativeBoots = field(init=False)

    def __post_init__(self) -> None:
        self.scripts = Scripts(self.inventory, self.faults)
        self.native = NativeBoots(self.record, self._read_by, self._has_spoken)

    def use(self, inventory: Inventory) -> None:
        """Another configuration's hosts, settings and systems from here on; blocking."""
        other = BootService(inventory, self.clock)
        try:
            other.assign()
        except StorebootError as error:  # none of them can boot, which was logged of each
            log.error("reload.no_host_can_boot", reason=error.message)
        scripts = Scripts(inventory, other.faults, self.scripts)
        self.inventory, self.faults, self.scripts = inventory, other.faults, scripts

    async def _read_by(self, address: str) -> set[bytes]:
        return await self.reads(address) if self.reads is not None else set()

    @property
    def config(self) -> Config:
        return self.inventory.config

    @property
    def state(self) -> StateDirectory:
        return self.inventory.state

    @property
    def registry(self) -> Registry:
        return self.inventory.registry

    @property
    def boots(self) -> Boots:
        return self.inventory.boots

    @property
    def key(self) -> bytes:
        return self.inventory.systems.key

    @property
    def url(self) -> str:
        return self.inventory.url

    def assign(self, progress: Callable[[str], None] = lambda _text: None) -> None:
        """Deploy what the configuration declares, and make every host's system ready; blocking.

        A host whose system cannot be served is left out and said; that none can is an error.
        """
        hosts = self.registry.all()
        default = self.config.machines.default
        if default is not None and default not in {host.name for host in hosts}:
            log.error("machines.no_default", host=default, reason="there is no such host")
        for host in hosts:
            try:
                self._declare(host, progress)
                system = self.inventory.deployments.current(host.name)
                if system is not None:
                    system = self.inventory.systems.booted(host, system)
                    assignment = self.inventory.systems.prepare(system, host, progress)
                    self.inventory.systems.plan(host, assignment).command_line(self.url)
            except StorebootError as error:
                self.faults[host.name] = error
                log.error("host.cannot_boot", host=host.name, reason=error.message, hint=error.hint)
        if hosts and len(self.faults) == len(hosts):
            raise next(iter(self.faults.values()))

    def _declare(self, host: Host, progress: Callable[[str], None]) -> None:
        hold = self.inventory.holds.get(host.name)
        if hold is not None:
            log.warning("host.held", host=host.name, reason=hold.reason)
        elif self.inventory.deployments.declare(host, self.url, progress):
            self.inventory.rollouts.take_over(host.name)

    async def by_view(self, view: str, host: str | None = None) -> Assignment | None:
        """Only views that are rooted are served: of generations that are kept, or that run.

        With the initrd of a host, where one is named; else with any.
        """
        found = self.inventory.systems.any_of(view) if host is None else None
        if found is not None:
            return found
        system = self.inventory.systems.of_view(view) if _VIEW.fullmatch(view) else None
        known = self.registry.get(host) if host else None
        return await self.scripts.prepared(system, known) if system is not None else None

    def alias_of(self, address: str) -> bytes | None:
        """The view that a machine with this address mounts by the alias' name.

        Also before systems are assigned, for a machine that comes back while the server starts.
        """
        if not self.config.nfs.alias:
            return None
        host = next(self._hosts_at(address), None)
        if host is None:
            return None
        system = self.inventory.deployments.current(host.name) or host.system
        return view_id([system.text]) if system is not None else None

    def _hosts_at(self, address: str) -> Iterator[Host]:
        """Declared ones first: a database that is away keeps no machine of theirs waiting."""
        for name, section in self.config.hosts.items():
            if address in section.address:
                yield self.registry.require(name)
        try:
            added = self.registry.all()
        except SQLAlchemyError as error:
            log.error("nfs.alias_unknown", address=address, reason=str(error))
            return
        yield from (host for host in added if address in host.addresses)

    async def next_boot(self, boot: Boot, local: str) -> dict[str, str]:
        """What a machine that runs needs for its next boot without firmware, by kexec(8)."""
        host = self.registry.get(boot.host)
        if host is None:
            raise RefusedError(f"host {boot.host} is not known any more")
        assignment = await self.scripts.assignment(host)
        plan = self.inventory.systems.plan(host, assignment)
        try:
            line = plan.command_line(self.inventory.url_towards(local), KEXEC_ROOM)
        except StorebootError as error:
            raise RefusedError(error.message) from None
        return {
            "kernel": f"/views/{plan.view}/kernel?host={host.name}",
            "initrd": f"/views/{plan.view}/initrd?host={host.name}",
            "command_line": f"{line} storeboot.ticket={self._ticket(boot)}",
        }

    def _ticket(self, boot: Boot) -> str:
        return ticket(boot.host, boot.machine.partition(" ")[0], self.key)

    def _is(self, host: Host, machine: Machine, given: str) -> bool:
        """By what it says of itself, or by the ticket that the script has given it."""
        own = ticket(host.name, machine.mac, self.key)
        return host.matches(machine) or hmac.compare_digest(own.encode(), given.encode())

    def begin(
        self,
        *,
        host_name: str,
        view: str,
        nonce: str,
        machine: Machine,
        address: str,
        seal: str = "",
    ) -> Boot:
        """A boot begins. The same nonce is the same boot, and only its own view is given."""
        host = self.registry.get(host_name)
        if host is None or not self._is(host, machine, seal):
            raise RefusedError(f"this machine is not host {host_name}")
        now = self.clock()
        if host.like is not None and self.boots.count_like(host.like, now) >= MAX_GUEST_BOOTS:
            raise RefusedError(f"too many machines have booted like {host.like}")
        system = self.inventory.systems.of_view(view) if _VIEW.fullmatch(view) else None
        if system is None or not self.inventory.deployments.has_view(host.profile, view):
            raise RefusedError(f"host {host_name} may not boot view {view}")
        boot = Boot(
            id=secrets.token_hex(8),
            host=host.name,
            view=view,
            system=system.text,
            nonce=nonce,
            machine=f"{machine.mac} {machine.uuid} {machine.serial}",
            address=address,
            began_at=now,
            seen_at=now,
        )
        # Nobody takes roots away between the look at the view's root and the lease.
        with self.state.lock():
            if not self.state.is_rooted(view):
                raise RefusedError(f"view {view} is not kept any more; boot again")
            begun = self.boots.begin(boot)
            if not self.is_replay(begun):
                self.inventory.deployments.boot_began(host.name, begun.id, view, now)
        if (begun.host, begun.view) != (boot.host, boot.view):
            raise RefusedError("this nonce belongs to another boot")
        return begun

    def is_replay(self, boot: Boot) -> bool:
        """Once the machine has gone on, its first answer, keys included, is not given again."""
        return any(event.source != "server" for event in self.boots.events_of(boot.id))

    def answer(self, boot: Boot, local: str) -> dict[str, str]:
        """What a machine needs to go on: `key=value` lines, values without white space."""
        host = self.registry.require(boot.host)
        codec = HandleCodec(self.key)
        token = MountToken(bytes.fromhex(boot.view), bytes.fromhex(boot.id))
        return {
            "boot": boot.id,
            "key": self.agent_key(boot.id),
            "token": codec.encode_token(token),
            "time": str(int(self.clock())),
            "hostname": host.hostname,
            "machine_id": machine_id(host.name, self.key),
            "nfs_server": self.config.address_towards(local),
            "nfs_port": str(self.config.nfs.port),
            "nfs_version": host.nfs_version,
            **self._pack(boot, host),
            "overlay_size": host.overlay_size,
            "overlay_label": host.overlay_label or "",
            "persist_label": host.persist_label or "",
            "persist_directories": ":".join(host.persist_directories),
            "zram": host.zram or "",
            "nix_store": host.nix_store,
            "ssh_host_key": "yes" if host.ssh_host_key else "no",
            "heartbeat": str(self.config.agent.heartbeat),
        }

    def _pack(self, boot: Boot, host: Host) -> dict[str, str]:
        pack = self.inventory.systems.packs.get(boot.view) if host.mode == "pack" else None
        if pack is None:
            return {}
        return {
            "pack": pack.path.name,
            "pack_sha256": pack.sha256,
            "learn_seconds": str(self.config.packs.learn_seconds),
        }

    def host_key(self, boot: Boot) -> str | None:
        """The private ssh key of the boot's host; None where none is kept. Blocking."""
        host = self.registry.get(boot.host)
        if host is None or not host.ssh_host_key:
            return None
        return host_key(self.state.host_key(host.name), host.name)

    def agent_key(self, boot: str) -> str:
        """What a boot's agent proves itself with; derived, so that nothing has to be kept."""
        return blake2b(boot.encode(), key=self.key, person=b"sb-agent", digest_size=16).hexdigest()

    def authorised(self, boot: str, key: str) -> bool:
        return hmac.compare_digest(self.agent_key(boot).encode(), key.encode(errors="replace"))

    async def record(self, event: Event) -> None:
        """Events are few and small; waiters are told of each."""
        if event.stage in _ON_ITS_OWN:
            self.scripts.leaves(event.host)
        elif event.source != "dhcp":  # anybody can say that with a host's address
            self.scripts.moves(event.host, event.at)
        self.boots.record(event)
        await self._watch(event)
        if event.boot is not None:
            if event.stage == DOWN:
                self.boots.end(event.boot, event.at)
            elif event.stage == REFUSED:
                await asyncio.to_thread(self.inventory.rollouts.refused, event.boot, event.detail)
            await asyncio.to_thread(
                self.inventory.deployments.stage_reached,
                event.host, event.boot, event.stage, event.detail,
            )  # fmt: skip
        log.info("boot.event", host=event.host, boot=event.boot, stage=event.stage,
                 detail=event.detail.partition("\n")[0] or None)  # fmt: skip
        await self.notify()

    async def _watch(self, event: Event) -> None:
        """A boot of mode native says nothing of itself until its agent runs, if it has one."""
        if event.source == "agent" and event.stage != DOWN:
            await self.native.end(event.host)
        elif event.stage == "initrd" and event.source == "server":
            host = self.registry.get(event.host)
            if host is not None and host.mode == "native":
                self.native.begin(host, event.at)
            else:
                self.native.forget(event.host)

    def _has_spoken(self, host: str, since: float) -> bool:
        """Whether a boot of the host was heard of since: its agent speaks."""
        boot = self.boots.latest(host)
        return boot is not None and boot.seen_at > since

    async def saw(self, seen: Seen) -> None:
        """dnsmasq has seen a machine on its way to iPXE."""
        try:
            host = self.registry.find(Machine(mac=seen.mac))
        except AmbiguousMachineError:
            return
        if host is not None:
            await self.record(
                Event(host.name, "dhcp", seen.stage, self.clock(), detail=seen.detail)
            )

    async def forget_reads(self, address: str) -> None:
        """What was read before a boot began is not of it."""
        if self.reads is not None:
            await self.reads(address)

    async def learn(self, boot: Boot, pack: str | None, resident: set[bytes] | None) -> None:
        """A boot has come as far as it is learned from: by its NFS reads and its page cache."""
        host = self.registry.get(boot.host)
        view = self.state.view(boot.view)
        if host is None or host.mode != "pack" or view is None or self.reads is None:
            return
        read = await self.reads(boot.address)
        if not any(event.stage == UP for event in self.boots.events_of(boot.id)):
            return  # it has not come up, so nobody knows what it is
        by = Witness(boot.id, boot.host, boot.address)
        await asyncio.to_thread(self.inventory.systems.packs.learn, view, pack, read, resident, by)
        log.info("pack.learned", host=boot.host, boot=boot.id, over_nfs=len(read),
                 in_memory=None if resident is None else len(resident))  # fmt: skip
        await self.notify()

    async def settle_tests(self) -> None:
        """A machine whose test has failed is asked to boot again, should it still listen."""
        deployments = self.inventory.deployments
        for each in deployments.unsettled(self.clock()):
            failed = await asyncio.to_thread(deployments.settle, each.host, now=self.clock())
            if failed is not None and failed.boot is not None:
                log.warning("test.failed", host=failed.host, generation=failed.generation,
                            reason="no multi-user in time")  # fmt: skip
                if self.inventory.holds.get(failed.host) is None:
                    self.inventory.orders.give(failed.boot, Order.REBOOT)
                await self.notify()

    async def carry_on(self) -> None:
        """Rollouts, as far as they can go by now."""
        await asyncio.to_thread(self.inventory.rollouts.advance, self.clock())
        await self.notify()

    async def notify(self) -> None:
        async with self.changed:
            self.changed.notify_all()
