"""What the boot service knows and decides; HTTP is only how it is asked.

Methods that are no coroutines block, and run in threads. The event loop waits for none of them
without an end.
"""

from __future__ import annotations

import asyncio
import hmac
import re
import secrets
from collections.abc import Awaitable, Callable, Collection
from concurrent.futures import Future
from contextlib import ExitStack
from dataclasses import dataclass, field
from hashlib import blake2b
from pathlib import Path
from typing import ParamSpec, TypeVar

import structlog

from storeboot.boot.commandline import KEXEC_ROOM
from storeboot.boot.plan import machine_id, ticket
from storeboot.boot.timeline import DOWN, FAILED, SILENT, UP
from storeboot.config import Config
from storeboot.deploy.disk import shortage
from storeboot.deploy.host_keys import host_key
from storeboot.deploy.inventory import Inventory
from storeboot.deploy.reports import Reports
from storeboot.deploy.state import StateDirectory
from storeboot.deploy.systems import Assignment
from storeboot.dhcp.journal import Seen
from storeboot.errors import StorebootError
from storeboot.hosts import words
from storeboot.hosts.boots import Boot, Boots, Event
from storeboot.hosts.database import DatabaseAwayError
from storeboot.hosts.host import AmbiguousMachineError, Host, Machine
from storeboot.hosts.orders import Order
from storeboot.hosts.registry import Registry
from storeboot.nfs.handle import HandleCodec, MountToken
from storeboot.nfs.views import view_id
from storeboot.nix.store import StorePath
from storeboot.pack.hot import Witness
from storeboot.serve.threads import ASK_SECONDS, BusyError, Threads
from storeboot.service.bookkeeping import BOOT_SECONDS, EVENT_SECONDS, Bookkeeping
from storeboot.service.native import NativeBoots
from storeboot.service.scripts import RefusedError, Scripts

log = structlog.get_logger()
P = ParamSpec("P")
T = TypeVar("T")
MAX_GUEST_BOOTS = 5000  # that are remembered of unknown machines, for each host
MAKE_SECONDS = 30.0  # until a system is ready; iPXE waits so long
KEY_SECONDS = 8.0
LOCK_SECONDS = 4.0  # for which a boot waits for a garbage collection
READS_SECONDS = 5.0
CHORE_SECONDS = 120.0
MAX_SEEN = 200  # characters
# A boot that waits for nobody's turn any more: it is up, over, hung, or far enough to say no more.
_ON_ITS_OWN = frozenset({UP, FAILED, DOWN, SILENT, "stage-2"})
_VIEW = re.compile(r"[0-9a-f]{32}")


@dataclass(frozen=True, slots=True)
class Early:
    """A stage that a machine has passed before its boot began; both in seconds."""

    stage: str
    uptime: float  # by the machine's own clock
    ago: float


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
    peers: Callable[[], Collection[str]] = frozenset  # addresses that read the store
    native: NativeBoots = field(init=False)
    threads: Threads = field(default_factory=Threads)
    books: Bookkeeping = field(init=False)
    reports: Reports = field(init=False)
    is_declared: bool = False  # what the configuration declares was deployed
    _tasks: set[asyncio.Task[None]] = field(default_factory=set)

    def __post_init__(self) -> None:
        self.scripts = Scripts(self.inventory, self.faults, self.threads)
        self.native = NativeBoots(self.record, self._read_by, self._has_spoken)
        self.books = Bookkeeping(self.inventory, self.threads, lambda: set(self.peers()))
        self.reports = Reports(self.state.path / "reports")

    def use(self, inventory: Inventory) -> None:
        """Another configuration's hosts, settings and systems from here on; blocking."""
        other = BootService(inventory, self.clock)
        try:
            other.assign()
        except StorebootError as error:  # none of them can boot, which was logged of each
            log.error("reload.no_host_can_boot", reason=error.message)
        scripts = Scripts(inventory, other.faults, self.threads, self.scripts)
        self.inventory, self.faults, self.scripts = inventory, other.faults, scripts
        self.is_declared = other.is_declared
        self.books.use(inventory)

    async def _read_by(self, address: str) -> set[bytes]:
        """What an address has read; nothing from workers that do not answer."""
        if self.reads is None:
            return set()
        try:
            async with asyncio.timeout(READS_SECONDS):
                return await self.reads(address)
        except TimeoutError:
            log.warning("nfs.reads_not_told", address=address)
            return set()

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

    async def ask(self, function: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
        """See `Threads.ask`."""
        return await self.threads.ask(self.inventory.database, function, *args, **kwargs)

    def assign(self, progress: Callable[[str], None] = lambda _text: None) -> None:
        """Deploy what the configuration declares, and make every host's system ready; blocking.

        A host whose system cannot be served is left out and said; that none can is an error. While
        the database is away nothing is deployed, and hosts boot what they did before.
        """
        hosts = self.registry.all()
        default = self.config.machines.default
        if default is not None and default not in {host.name for host in hosts}:
            log.error("machines.no_default", host=default, reason="there is no such host")
        self.is_declared = True
        self.faults.clear()
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
        try:
            hold = self.inventory.holds.get(host.name)
            if hold is not None:
                log.warning("host.held", host=host.name, reason=hold.reason)
            elif self.inventory.deployments.declare(host, self.url, progress):
                self.inventory.rollouts.take_over(host.name)
        except DatabaseAwayError:
            self.is_declared = False

    async def by_view(self, view: str, host: str | None = None) -> Assignment | None:
        """Only views that are rooted are served: of generations that are kept, or that run.

        With the initrd of a host, where one is named; else with any.
        """
        found, system, known = await self.ask(self._by_view, view, host)
        if found is not None or system is None:
            return found
        return await self.scripts.prepared(system, known)

    def _by_view(self, view: str, host: str | None) -> tuple[Assignment | None, StorePath | None,
                                                             Host | None]:  # fmt: skip
        systems = self.inventory.systems
        found = systems.any_of(view) if host is None else None
        if found is not None:
            return found, None, None
        system = systems.of_view(view) if _VIEW.fullmatch(view) else None
        known = self.registry.get(host) if host else None
        return (systems.get(system, known) if system is not None else None), system, known

    def alias_of(self, address: str) -> bytes | None:
        """The view that a machine with this address mounts by the alias' name.

        Also before systems are assigned, for a machine that comes back while the server starts. It
        is called for each connection, and so asks memory and a few symlinks, never the database.
        """
        if not self.config.nfs.alias:
            return None
        host = self.registry.at(address)
        if host is None:
            return None
        system = self.inventory.deployments.remembered(host.name) or host.system
        return view_id([system.text]) if system is not None else None

    async def next_boot(self, boot: Boot, local: str) -> dict[str, str]:
        """What a machine that runs needs for its next boot without firmware, by kexec(8)."""
        host = await self.ask(self.registry.get, boot.host)
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

    async def begin(
        self,
        *,
        host: str,
        view: str,
        nonce: str,
        machine: Machine,
        address: str,
        seal: str = "",
        early: Collection[Early] = (),
    ) -> tuple[Boot, Host]:
        """A boot begins. The same nonce is the same boot, and only its own view is given.

        `early` are the stages that it has passed before.

        Raises RefusedError, or BusyError if the machine may ask again.
        """
        try:
            boot, known, told = await self.threads.boots.run(
                LOCK_SECONDS + ASK_SECONDS, self._begin, host, view, nonce, machine, address, seal
            )
        except TimeoutError:
            raise BusyError("the server's disk or database does not answer") from None
        if (boot.host, boot.view) != (known.name, view):
            raise RefusedError("this nonce belongs to another boot")
        if self.books.is_replay(boot):
            raise ReplayError("this boot has begun already")
        known_stages = await self.ask(self._stages_of, boot) if early else set()
        now = self.clock()
        await asyncio.gather(
            self.books.began(boot, told),
            *(
                self.record(
                    Event(boot.host, "server", each.stage, now - each.ago, boot.id, each.uptime),
                    BOOT_SECONDS,
                )
                for each in early
                if each.stage not in known_stages
            ),
        )
        self._later(self._forget_reads(boot.address))
        return boot, known

    def _begin(
        self, name: str, view: str, nonce: str, machine: Machine, address: str, seal: str
    ) -> tuple[Boot, Host, Future[bool] | None]:
        host = self.registry.get(name)
        if host is None or not self._is(host, machine, seal):
            raise RefusedError(f"this machine is not host {name}")
        now = self.clock()
        if host.like is not None and self._guest_boots(host.like, now) >= MAX_GUEST_BOOTS:
            raise RefusedError(f"too many machines have booted like {host.like}")
        system = self.inventory.systems.of_view(view) if _VIEW.fullmatch(view) else None
        if system is None or not self.inventory.deployments.has_view(host.profile, view):
            raise RefusedError(f"host {name} may not boot view {view}")
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
        with ExitStack() as stack:
            self._hold_roots(stack, host, view)
            if not self.state.is_rooted(view):
                raise RefusedError(f"view {view} is not kept any more; boot again")
            begun, told = self.books.begin(boot)
        return begun, host, told

    def _hold_roots(self, stack: ExitStack, host: Host, view: str) -> None:
        """Nobody takes roots away until the stack is left, at least not this one.

        What a host boots anyway is kept by any garbage collection that is under way, and nobody
        changes what that is before it has ended; so a room that boots does not wait for it.
        """
        try:
            stack.enter_context(self.state.lock(seconds=0.0))
        except StorebootError:
            if self._is_kept(host, view):
                return
            try:
                stack.enter_context(self.state.lock(seconds=LOCK_SECONDS))
            except StorebootError as error:
                raise BusyError(error.message) from None

    def _guest_boots(self, like: str, now: float) -> int:
        try:
            return self.boots.count_like(like, now)
        except DatabaseAwayError:
            return 0

    def _is_kept(self, host: Host, view: str) -> bool:
        """Whether no garbage collection takes the view: it is what the host boots anyway."""
        deployments = self.inventory.deployments
        numbers = deployments.needed(host.profile)
        kept = (deployments.profile(host.profile).system(number) for number in numbers)
        return any(view in self.inventory.systems.views(each) for each in kept if each is not None)

    async def answer(self, boot: Boot, host: Host, local: str) -> dict[str, str]:
        """What a machine needs to go on: `key=value` lines, values without white space."""
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
            **await self.ask(self._pack, boot, host),
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

    async def host_key(self, boot: Boot) -> str | None:
        """The private ssh key of the boot's host; None where none is kept."""
        try:
            return await self.threads.boots.run(KEY_SECONDS, self._host_key, boot)
        except TimeoutError:
            raise BusyError("the server is busy making keys") from None

    def _host_key(self, boot: Boot) -> str | None:
        host = self.registry.get(boot.host)
        if host is None or not host.ssh_host_key:
            return None
        return host_key(self.state.host_key(host.name), host.name)

    def agent_key(self, boot: str) -> str:
        """What a boot's agent proves itself with; derived, so that nothing has to be kept."""
        return blake2b(boot.encode(), key=self.key, person=b"sb-agent", digest_size=16).hexdigest()

    def authorised(self, boot: str, key: str) -> bool:
        return hmac.compare_digest(self.agent_key(boot).encode(), key.encode(errors="replace"))

    async def record(self, event: Event, seconds: float = EVENT_SECONDS) -> None:
        """An event has come; waiters are told of each. It is waited for so long."""
        if event.stage in _ON_ITS_OWN:
            self.scripts.leaves(event.host)
        elif event.source != "dhcp":  # anybody can say that with a host's address
            self.scripts.moves(event.host, event.at)
        await self._watch(event)
        await self.books.record(event, seconds)
        log.info("boot.event", host=event.host, boot=event.boot, stage=event.stage,
                 detail=event.detail.partition("\n")[0] or None)  # fmt: skip
        await self.notify()

    async def _watch(self, event: Event) -> None:
        """A boot of mode native says nothing of itself until its agent runs, if it has one."""
        if event.source == "agent" and event.stage != DOWN:
            await self.native.end(event.host)
        elif event.stage == "initrd" and event.source == "server":
            host = await self.ask(self.registry.get, event.host)
            if host is not None and host.mode == "native":
                self.native.begin(host, event.at)
            else:
                self.native.forget(event.host)

    async def _has_spoken(self, host: str, since: float) -> bool:
        """Whether a boot of the host was heard of since: its agent speaks."""
        boot = await self.ask(self.books.latest, host)
        return boot is not None and boot.seen_at > since

    async def heartbeat(self, boot: str) -> str | None:
        """A boot's machine runs; returns what its agent is asked to do, one word or nothing.

        None if there is no such boot.
        """
        now = self.clock()
        known = await self.boot(boot)
        if known is None:
            return None
        self.scripts.moves(known.host, now)
        await self.books.sign(boot, now)
        word = await self.ask(self._order, boot)
        await self.notify()
        return word

    def _order(self, boot: str) -> str:
        """An order that cannot be struck off is not given: it would be given again and again."""
        try:
            return self.inventory.orders.take(boot)
        except DatabaseAwayError:
            return ""

    async def boot(self, identity: str) -> Boot | None:
        """A boot that somebody has proved to speak for.

        While the database is away one may be unknown whose key is right; it is believed.
        """
        try:
            return await self.ask(self.books.boot, identity)
        except DatabaseAwayError:
            return Boot(identity, "", "", "", "", "", "", 0.0, 0.0)

    def _stages_of(self, boot: Boot) -> set[str]:
        """What is known of a boot's way; nothing while the database is away."""
        try:
            return {event.stage for event in self.boots.events_of(boot.id)}
        except DatabaseAwayError:
            return set()

    async def health(self) -> Health:
        """What could not be written down, and why."""
        away, missing = self.inventory.database.away, self.books.unrecorded()
        return Health(
            database=away.reason if away is not None else None,
            since=away.since if away is not None else None,
            waiting=missing.waiting,
            lost=missing.lost,
            disk=await self.ask(shortage, self.state.path),
        )

    async def saw(self, seen: Seen) -> None:
        """dnsmasq has seen a machine on its way to iPXE."""
        try:
            host = await self.ask(self.registry.find, Machine(mac=seen.mac))
        except (AmbiguousMachineError, BusyError):
            return
        if host is not None:
            detail = words.line(seen.detail, MAX_SEEN)
            await self.record(Event(host.name, "dhcp", seen.stage, self.clock(), detail=detail))

    async def _forget_reads(self, address: str) -> None:
        """What was read before a boot began is not of it."""
        await self._read_by(address)

    def _later(self, work: Awaitable[None]) -> None:
        """A boot does not wait for it."""

        async def do() -> None:
            await work

        task = asyncio.create_task(do())
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def learn(self, boot: Boot, pack: str | None, resident: set[bytes] | None) -> None:
        """A boot has come as far as it is learned from: by its NFS reads and its page cache."""
        host = await self.ask(self.registry.get, boot.host)
        view = await self.ask(self.state.view, boot.view)
        if host is None or host.mode != "pack" or view is None or self.reads is None:
            return
        read = await self._read_by(boot.address)
        if UP not in await self.ask(self._stages_of, boot):
            return  # it has not come up, so nobody knows what it is
        by = Witness(boot.id, boot.host, boot.address)
        learn = self.inventory.systems.packs.learn
        try:
            await self.threads.making.run(MAKE_SECONDS, learn, view, pack, read, resident, by)
        except TimeoutError:
            log.warning("pack.learning_slowly", host=boot.host, boot=boot.id)
        except (OSError, StorebootError) as error:
            log.error("pack.not_learned", host=boot.host, boot=boot.id, reason=str(error))
        else:
            log.info("pack.learned", host=boot.host, boot=boot.id, over_nfs=len(read),
                     in_memory=None if resident is None else len(resident))  # fmt: skip
        await self.notify()

    def settle(self) -> None:
        """Decide the tests that time has decided; blocking.

        A machine whose test has failed is asked to boot again, should it still listen.
        """
        self.books.catch_up()
        if not self.books.is_quiet:
            return  # what waits to be written may decide one of them
        deployments = self.inventory.deployments
        for each in deployments.unsettled(self.clock()):
            if each.boot is not None and not each.confirmed:
                self._recall(each.host, each.boot)
            failed = deployments.settle(each.host, now=self.clock())
            if failed is not None and failed.boot is not None:
                log.warning("test.failed", host=failed.host, generation=failed.generation,
                            reason="no multi-user in time")  # fmt: skip
                if self.inventory.holds.get(failed.host) is None:
                    self.inventory.orders.give(failed.boot, Order.REBOOT)

    def _recall(self, host: str, boot: str) -> None:
        """The server may have ended between what its boot has said and what follows from that."""
        for event in self.boots.events_of(boot):
            self.inventory.deployments.stage_reached(host, boot, event.stage, event.detail)

    async def settle_tests(self) -> None:
        """The same, in a thread."""
        await self.threads.chores.run(CHORE_SECONDS, self.settle)
        await self.notify()

    async def carry_on(self) -> None:
        """Rollouts, as far as they can go by now."""
        await self.threads.chores.run(CHORE_SECONDS, self.inventory.rollouts.advance, self.clock())
        await self.notify()

    async def notify(self) -> None:
        async with self.changed:
            self.changed.notify_all()


@dataclass(frozen=True, slots=True)
class Health:
    """For whoever operates the server."""

    database: str | None  # why it is away
    since: float | None  # in seconds since 1970
    waiting: dict[str, int]  # records that are to be written, by kind
    lost: dict[str, int]  # records that will never be written
    disk: str | None  # what there is too little of


class ReplayError(Exception):
    """A request that was answered to a machine that has gone on since."""
