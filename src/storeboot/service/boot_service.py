"""The boot service: one method for each request of a machine, of firmware or of the server itself.

The service does not know whether a request came over HTTP, from dnsmasq or from a timer.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Collection, Sequence
from contextlib import aclosing
from dataclasses import dataclass
from pathlib import Path
from typing import ParamSpec, TypeVar

import structlog

from storeboot.config import Config
from storeboot.deploy.inventory import Inventory
from storeboot.deploy.state import StateDirectory
from storeboot.dhcp.journal import Seen
from storeboot.hosts import words
from storeboot.hosts.boots import Boot, Boots, Event
from storeboot.hosts.host import AmbiguousMachineError, Machine
from storeboot.hosts.registry import Registry
from storeboot.protocol.stages import Source, Stage
from storeboot.service.answers import Answers
from storeboot.service.asked import Asked, Beginning
from storeboot.service.assigning import Progress, assign
from storeboot.service.beginning import Beginnings
from storeboot.service.bookkeeping import Bookkeeping
from storeboot.service.current import Current
from storeboot.service.downloads import Arrived, Part
from storeboot.service.fetching import Fetch, Fetching
from storeboot.service.happenings import Happenings
from storeboot.service.ipxe import IpxePrograms
from storeboot.service.known_boots import KnownBoots
from storeboot.service.learning import Learning
from storeboot.service.native import NativeWatch
from storeboot.service.proofs import is_agent
from storeboot.service.questions import order_of
from storeboot.service.refusals import BusyError, RefusedError
from storeboot.service.refusing import Refusing
from storeboot.service.reporting import Reporting, Upload
from storeboot.service.rounds import Rounds
from storeboot.service.scripts import Scripts
from storeboot.service.turns import Turns
from storeboot.service.upkeep import Health, Upkeep
from storeboot.service.view_files import ViewFiles
from storeboot.service.waits import Changes
from storeboot.service.work import Work

log = structlog.get_logger()
P = ParamSpec("P")
T = TypeVar("T")
MAX_SEEN = 200  # characters
RELOAD_SECONDS = 3600.0


@dataclass(slots=True, kw_only=True)
class BootService:
    """Passes each request to the part that answers it. `assembly.make_service` creates it."""

    clock: Callable[[], float]
    current: Current
    work: Work
    turns: Turns
    books: Bookkeeping
    known: KnownBoots
    happenings: Happenings
    changed: Changes  # notified whenever something has happened
    rounds: Rounds
    scripts: Scripts
    files: ViewFiles
    fetching: Fetching
    programs: IpxePrograms
    beginnings: Beginnings
    answers: Answers
    native: NativeWatch
    learning: Learning
    reporting: Reporting
    refusing: Refusing
    upkeep: Upkeep

    # The parts that every request is about.

    @property
    def inventory(self) -> Inventory:
        return self.current.inventory

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
        """Ask a short question; see `Work.ask`."""
        return await self.work.ask(function, *args, **kwargs)

    async def use(self, inventory: Inventory) -> None:
        """Use the hosts, settings and systems of another configuration from now on."""
        assigned = await self.work.making.run(RELOAD_SECONDS, assign, inventory)
        if assigned.failure is not None:  # the faults of each host are logged already
            log.error("reload.no_host_can_boot", reason=assigned.failure.message)
        inventory.state.given.take_over(self.state.given)
        self.current.use(assigned)
        await self.changed.tell()

    # Scripts, and the files that they name.

    async def entry_script(self, local: str) -> str:
        """Return the script that identifies a machine; `local` is the server address it asked."""
        return await self.scripts.entry(local)

    async def boot_script(self, asked: Asked) -> str:
        """Return a machine's script. The only side effect is a line in a known host's timeline.

        Raises RefusedError with the reason if the machine may not boot, or cannot.
        """
        now = self.clock()
        try:
            answer = await self.scripts.answer(asked, now)
        except RefusedError as error:
            await self.refusing.note(asked.machine, asked.address, error, now)
            raise
        self.refusing.settle(asked.machine)
        # Nothing is recorded of a guest host before it boots: a stranger could have made it up.
        if answer.host is not None and answer.host.like is None:
            await self.happenings.tell(Event(answer.host.name, Source.SERVER, Stage.SCRIPT, now))
        return answer.text

    async def menu(self, asked: Asked) -> str:
        """Return the menu of a machine's host; raise RefusedError as `boot_script` does."""
        now = self.clock()
        try:
            return await self.scripts.menu(asked, now)
        except RefusedError as error:
            await self.refusing.note(asked.machine, asked.address, error, now)
            raise

    def program(self, name: str) -> Path | None:
        """Return the iPXE program that firmware knows by this name, or None."""
        return self.programs.file(name)

    async def kernel(self, view: str, address: str) -> Path | None:
        """Return a view's kernel, or None if the view is not kept."""
        return await self._kept(self.files.kernel(view), view, address)

    async def initrd(self, view: str, host: str, address: str) -> Path | None:
        """Return a view's initrd for the named host, or None if the view is not kept."""
        return await self._kept(self.files.initrd(view, host), view, address)

    async def sends(
        self, fetch: Fetch, arrived: Arrived
    ) -> Callable[[Part | None], Awaitable[None]] | None:
        """Note that a kernel or an initrd begins to be sent; see `Fetching.begins`.

        Returns what to call when the answer has ended, with the part of the file that was in it, or
        None if no known host fetches it.
        """
        download = await self.fetching.begins(fetch, arrived, self.clock)
        if download is None:
            return None
        return lambda part: self.fetching.ends(download, arrived, part, self.clock)

    async def _kept(self, file: Awaitable[Path | None], view: str, address: str) -> Path | None:
        """Return a file of a view, or None; note that a machine does not get it."""
        machine, now = Machine(), self.clock()  # it does not say who it is
        try:
            found = await file
        except RefusedError as error:
            await self.refusing.note(machine, address, error, now)
            raise
        if found is None:
            gone = RefusedError(f"view {view} is not kept")
            await self.refusing.note(machine, address, gone, now)
        return found

    async def pack(self, view: str, name: str) -> Path | None:
        return await self.files.pack(view, name)

    async def hot_files(self, view: str, name: str) -> set[bytes] | None:
        """Return the files whose data the pack has, or None if there is no such pack."""
        return await self.files.hot_files(view, name)

    async def registration(self, view: str) -> str | None:
        """Return a view's registration for Nix, or None if the view is not kept."""
        found = await self.files.record(view)
        return found.registration if found is not None else None

    async def paths(self, view: str) -> Sequence[str] | None:
        """Return the store paths of a view, or None if it is not kept."""
        found = await self.files.record(view)
        return found.paths if found is not None else None

    async def database(self, view: str) -> Path | None:
        """Return Nix's database of a view, or None if the view is not kept.

        Raises UnavailableError if the database cannot be made.
        """
        return await self.files.database(view)

    # Boots, and what their machines send.

    async def begin(self, asked: Beginning) -> dict[str, str]:
        """Begin a boot; return what its machine needs to carry on, by name.

        Raises RefusedError with the reason, or BusyError if the machine may ask again.
        """
        try:
            boot, host = await self.beginnings.begin(asked, self.clock)
        except RefusedError as error:
            await self.refusing.note(asked.machine, asked.address, error, self.clock())
            raise
        self.refusing.settle(asked.machine)
        return await self.answers.first(boot, host, asked.local, self.clock())

    def is_agent(self, boot: str, key: str) -> bool:
        """Return whether this key entitles its bearer to speak for a boot."""
        return is_agent(boot, key, self.key)

    async def boot(self, identity: str) -> Boot | None:
        """Return a boot whose agent key was shown, or None if there is no such boot."""
        return await self.ask(self.known.spoken_for, identity)

    async def event(
        self, boot: Boot, source: str, stage: str, uptime: float | None, detail: str
    ) -> None:
        """Record that a boot's machine has passed a stage; `uptime` is in seconds, by its own
        clock."""
        event = Event(boot.host, source, stage, self.clock(), boot.id, uptime, detail)
        await self.happenings.tell(event)

    async def heartbeat(self, boot: str) -> str | None:
        """Note that a boot's machine runs; return the order for its agent, or "" if there is none.

        Returns None if there is no such boot.
        """
        now = self.clock()
        known = await self.boot(boot)
        if known is None:
            return None
        self.turns.moves(known.host, now)
        await self.books.sign(boot, now)
        word = await self.ask(order_of, self.inventory, boot)
        await self.changed.tell()
        return word

    async def host_key(self, boot: Boot) -> str | None:
        """Return the private ssh key of a boot's host; see `Answers.host_key`."""
        return await self.answers.host_key(boot)

    async def next_boot(self, boot: Boot, local: str) -> dict[str, str]:
        """Return what a running machine needs to start its next boot without firmware, by name."""
        return await self.answers.next(boot, local)

    async def learn(self, boot: Boot, pack: str | None, resident: set[bytes] | None) -> None:
        """Learn from a boot that has come far enough; see `Learning.learn`."""
        if await self.learning.learn(boot, pack, resident):
            await self.changed.tell()

    async def report(self, boot: Boot, part: str, upload: Upload) -> None:
        """Keep a part of a machine's report; see `Reporting.keep`."""
        await self.reporting.keep(boot, part, upload)
        await self.changed.tell()

    # What others observe of machines.

    async def saw(self, seen: Seen) -> None:
        """Record what dnsmasq has seen of a machine on its way to iPXE; what was recorded a short
        while ago is only counted."""
        try:
            if seen.mac:
                host = await self.ask(self.registry.find, Machine(mac=seen.mac))
            else:
                host = self.registry.at(seen.address)
        except (AmbiguousMachineError, BusyError):
            return
        if host is None:
            return
        detail = words.line(seen.detail, MAX_SEEN)
        event = Event(host.name, Source.DHCP, seen.stage, self.clock(), detail=detail)
        if not seen.again:
            await self.happenings.tell(event)
            return
        for loop in self.rounds.count(event):
            await self.happenings.tell(loop)

    # The recurring work, and the server's health.

    async def look_at_native(self) -> None:
        """Record the progress of downloads, and of boots that do not report it themselves."""
        for look in (self.fetching.look, self.native.look):
            async with aclosing(look(self.clock())) as found:
                async for event in found:
                    await self.happenings.tell(event)

    async def assign(self, seconds: float, progress: Progress = lambda _text: None) -> None:
        """Prepare all systems; raise TimeoutError after `seconds`."""
        await self.upkeep.assign(seconds, progress)

    async def resume(self) -> None:
        """Resume leases and rollouts where they stopped, once the database is reachable."""
        await self.upkeep.resume(self.clock())

    async def renew(self, peers: Callable[[], Collection[str]]) -> None:
        """Renew the leases of machines that hold a connection; `peers` returns their addresses."""
        await self.upkeep.renew(peers, self.clock)

    async def carry_on(self) -> None:
        """Carry tests and rollouts on, as far as possible at the moment."""
        await self.upkeep.carry_on(self.clock)

    async def settle_tests(self) -> None:
        await self.upkeep.settle_tests(self.clock)

    async def advance_rollouts(self) -> None:
        await self.upkeep.advance_rollouts(self.clock)

    async def health(self) -> Health:
        """Return what could not be recorded, and why."""
        return await self.upkeep.health()
