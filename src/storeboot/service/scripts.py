"""Which script a machine gets: its host's, a menu, or the wait for its turn."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import ParamSpec, TypeVar
from urllib.parse import quote, urlencode

import structlog

from storeboot.boot import script
from storeboot.boot.plan import ticket
from storeboot.deploy.inventory import Inventory
from storeboot.deploy.systems import Assignment
from storeboot.errors import StorebootError
from storeboot.hosts.database import DatabaseAwayError
from storeboot.hosts.host import AmbiguousMachineError, Host, Machine
from storeboot.nix.store import StorePath
from storeboot.serve.threads import BusyError, Threads
from storeboot.service.start_up import StartUp

MENU_GENERATIONS = 5
RUNS = 30.0  # seconds: who was heard of since then runs
MAX_HOSTS = 200  # in a menu
OFFER_SECONDS = 20.0  # until a rollout has made a test of its system
MAKE_SECONDS = 30.0  # until a system is ready; iPXE waits so long
log = structlog.get_logger()
P = ParamSpec("P")
T = TypeVar("T")
_CHOICE = re.compile(r"([0-9]{1,9})(?:\.([A-Za-z0-9][A-Za-z0-9+._-]*))?")


class RefusedError(Exception):
    """A machine asked for what it may not have; the reason is for its console."""


@dataclass(frozen=True, slots=True)
class Asked:
    """A machine's question, and what somebody has chosen on its console."""

    machine: Machine
    address: str = ""
    local: str = ""  # the server's address that was asked
    choice: str = ""  # GENERATION or GENERATION.SPECIALISATION
    like: str = ""  # a host
    waited: int = 0  # how often it was told to wait for its turn

    @property
    def query(self) -> str:
        machine = self.machine
        said = {"mac": machine.mac, "uuid": machine.uuid, "serial": machine.serial}
        labels = (label.partition("=")[::2] for label in machine.labels)
        said |= {f"label.{name}": value for name, value in labels}
        if self.like:
            said["like"] = self.like
        return urlencode(said, quote_via=quote)


@dataclass(frozen=True, slots=True)
class Answer:
    """A script, and the host whose boot it begins, if it does."""

    text: str
    host: Host | None = None


class Scripts:
    """Asking changes nothing but whose turn it is."""

    def __init__(
        self,
        inventory: Inventory,
        faults: dict[str, StorebootError],
        threads: Threads,
        before: Scripts | None = None,
    ) -> None:
        """`before` are those of another configuration, whose boots on their way go on."""
        self._inventory = inventory
        self._faults = faults
        self._threads = threads
        # Made-up machines that boot like a host take no place from those that are known.
        self.start_up = StartUp(inventory.config.boots.at_once)
        self._guests = StartUp(inventory.config.boots.at_once)
        if before is not None:
            self.start_up.heard |= before.start_up.heard
            self._guests.heard |= before._guests.heard

    async def answer(self, asked: Asked, now: float) -> Answer:
        """Of GET /boot."""
        host = await self._ask(self.find, asked, now)
        if host is None:
            return Answer(await self._ask(self._hosts_menu, asked))
        places = self._guests if host.like else self.start_up
        if not places.admit(host.name, now, asked.waited):
            count = len(places.heard)
            return Answer(self._wait(asked, f"{count} machines are starting"))
        try:
            return await self._answer(host, asked, now)
        except RefusedError:
            places.leaves(host.name)
            raise
        except BusyError as error:
            places.leaves(host.name)
            return Answer(self._wait(asked, str(error)))

    async def _ask(self, function: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
        return await self._threads.ask(self._inventory.database, function, *args, **kwargs)

    def _wait(self, asked: Asked, reason: str) -> str:
        query = f"{asked.query}&waited={asked.waited + 1}"
        query += f"&choice={quote(asked.choice)}" if asked.choice else ""
        return script.waiting_script(url=self._url(asked), query=query, reason=reason)

    async def _answer(self, host: Host, asked: Asked, now: float) -> Answer:
        if host.menu and not asked.choice:
            return Answer(await self._ask(self._menu, host, asked))
        if await self._ask(self._is_offered, host, now):
            await self._offer(host, now)
        plan = self._inventory.systems.plan(host, await self.assignment(host, asked.choice))
        query = asked.query if host.menu is None and not asked.choice else None
        seal = ticket(host.name, asked.machine.mac, self._inventory.systems.key)
        try:
            return Answer(plan.script(self._url(asked), seal, query), host)
        except StorebootError as error:
            raise RefusedError(f"host {host.name} cannot boot: {error.message}") from None

    def _is_offered(self, host: Host, now: float) -> bool:
        """Whether a rollout has something for the host, and nobody else asks in its name: a machine
        that runs does not. Nothing is offered that could not be written down."""
        try:
            if self._inventory.rollouts.table.waiting_for(host.name) is None:
                return False
            boot = self._inventory.boots.latest(host.name)
        except DatabaseAwayError:
            return False
        return boot is None or boot.ended_at is not None or boot.seen_at <= now - RUNS

    async def _offer(self, host: Host, now: float) -> None:
        """The machine boots what it did before if this takes too long, or fails."""
        offer = self._inventory.rollouts.offer
        try:
            await self._threads.making.run(OFFER_SECONDS, offer, host.name, now)
        except (TimeoutError, DatabaseAwayError, OSError) as error:
            log.error("rollout.not_offered", host=host.name, reason=str(error))

    def moves(self, host: str, now: float) -> None:
        """The host was heard of on its way."""
        for places in (self.start_up, self._guests):
            places.moves(host, now)

    def leaves(self, host: str) -> None:
        """The host is up, or will not be."""
        for places in (self.start_up, self._guests):
            places.leaves(host)

    async def menu(self, asked: Asked, now: float) -> str:
        """Of GET /menu."""
        return await self._ask(self._of_menu, asked, now)

    def _of_menu(self, asked: Asked, now: float) -> str:
        host = self.find(asked, now)
        return self._hosts_menu(asked) if host is None else self._menu(host, asked)

    def _url(self, asked: Asked) -> str:
        return self._inventory.url_towards(asked.local)

    def find(self, asked: Asked, now: float) -> Host | None:
        """The machine's host; None where somebody has to choose one."""
        registry, policy = self._inventory.registry, self._inventory.config.machines
        machine = asked.machine
        try:
            host = registry.find(machine)
        except AmbiguousMachineError as error:
            raise RefusedError(str(error)) from None
        except StorebootError as error:  # an added host that is invalid by now
            raise RefusedError(error.message) from None
        if host is not None:
            return host
        seen = policy.unknown != "ignore" and self._inventory.unknown.see(
            machine, asked.address, now
        )
        if seen and policy.unknown == "menu" and not asked.like:
            return None
        if seen and policy.unknown in ("menu", "default"):
            like = policy.default or asked.like
            host = registry.guest(machine, like)
            if host is None:
                raise RefusedError(f"there is no host {like} to boot like")
            return host
        raise RefusedError(f"no host has mac {machine.mac}, uuid {machine.uuid}")

    def _hosts_menu(self, asked: Asked) -> str:
        hosts = self._inventory.registry.all()[:MAX_HOSTS]
        return script.menu_script(
            url=self._url(asked), query=asked.query,
            title=f"{asked.machine.mac} is unknown; boot like",
            items=[script.Item(host.name, host.name) for host in hosts], parameter="like",
            default=script.LEAVE, seconds=script.UNKNOWN_SECONDS,
        )  # fmt: skip

    def _menu(self, host: Host, asked: Asked) -> str:
        """The next boot first, then the newest ones."""
        deployments = self._inventory.deployments
        made = deployments.generations(host.profile)[::-1]
        made.sort(key=lambda each: not each.current)
        items, own = [], ""
        for generation in made[:MENU_GENERATIONS]:
            day = datetime.fromtimestamp(generation.made_at, UTC).strftime("%Y-%m-%d")
            for name in self._inventory.systems.choices(generation.system):
                key = f"{generation.number}.{name}" if name else str(generation.number)
                if generation.current and name == (host.specialisation or ""):
                    own = key
                words = [f"Generation {generation.number}", day, generation.system.name, name]
                if _CHOICE.fullmatch(key):
                    items.append(script.Item(key, "  ".join(word for word in words if word)))
        if not items:
            raise RefusedError(f"host {host.name} has no generation")
        return script.menu_script(
            url=self._url(asked), query=asked.query, title=host.name, items=items,
            parameter="choice", default=own or items[0].key, seconds=script.MENU_SECONDS,
        )  # fmt: skip

    async def assignment(self, host: Host, choice: str = "") -> Assignment:
        """What the host boots next, or what was chosen."""
        system, found = await self._ask(self._assigned, host, choice)
        return found if found is not None else await self.prepared(system, host)

    def _assigned(self, host: Host, choice: str) -> tuple[StorePath, Assignment | None]:
        """The system, and what was made ready of it before."""
        systems, deployments = self._inventory.systems, self._inventory.deployments
        if choice:
            chosen = self._chosen(host, choice)
            return chosen, systems.get(chosen, host)
        system = deployments.settled(host.like) if host.like else deployments.current(host.name)
        if system is None and host.name in self._faults:
            raise RefusedError(f"host {host.name} cannot boot: {self._faults[host.name].message}")
        if system is None:
            damages = deployments.profile(host.profile).damages()
            fault = f"cannot boot: {damages[0]}" if damages else "has no system"
            raise RefusedError(f"host {host.name} {fault}; storeboot deploy {host.profile}")
        try:
            booted = systems.booted(host, system)
        except StorebootError as error:
            raise RefusedError(error.message) from None
        return booted, systems.get(booted, host)

    def _chosen(self, host: Host, choice: str) -> StorePath:
        match = _CHOICE.fullmatch(choice)
        number = int(match[1]) if match else 0
        system = self._inventory.deployments.profile(host.profile).system(number)
        choices = self._inventory.systems.choices(system) if system is not None else {}
        name = (match[2] if match else None) or ""
        if name not in choices:
            raise RefusedError(f"host {host.name} has no generation {choice[:40]}")
        return choices[name]

    async def prepared(self, system: StorePath, host: Host | None) -> Assignment:
        """Deploying has made it ready; after a restart it may have to be done again."""
        prepare = self._inventory.systems.prepare
        try:
            return await self._threads.making.run(MAKE_SECONDS, prepare, system, host)
        except TimeoutError:
            raise BusyError(f"{system.name} is being made ready") from None
        except (StorebootError, OSError) as error:
            reason = error.message if isinstance(error, StorebootError) else str(error)
            raise RefusedError(f"{system} cannot boot: {reason}") from None
