"""Which script a machine gets: its host's, a menu, or the wait for its turn."""

from __future__ import annotations

import asyncio
import re
from dataclasses import dataclass
from datetime import UTC, datetime
from urllib.parse import quote, urlencode

from storeboot.boot import script
from storeboot.boot.plan import ticket
from storeboot.deploy.inventory import Inventory
from storeboot.deploy.systems import Assignment
from storeboot.errors import StorebootError
from storeboot.hosts.host import AmbiguousMachineError, Host, Machine
from storeboot.nix.store import StorePath
from storeboot.serve.start_up import StartUp

MENU_GENERATIONS = 5
RUNS = 30.0  # seconds: who was heard of since then runs
MAX_HOSTS = 200  # in a menu
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
        before: Scripts | None = None,
    ) -> None:
        """`before` are those of another configuration, whose boots on their way go on."""
        self._inventory = inventory
        self._faults = faults
        # Made-up machines that boot like a host take no place from those that are known.
        self.start_up = StartUp(inventory.config.boots.at_once)
        self._guests = StartUp(inventory.config.boots.at_once)
        if before is not None:
            self.start_up.heard |= before.start_up.heard
            self._guests.heard |= before._guests.heard

    async def answer(self, asked: Asked, now: float) -> Answer:
        """Of GET /boot."""
        host = self.find(asked, now)
        if host is None:
            return Answer(self._hosts_menu(asked))
        places = self._guests if host.like else self.start_up
        if not places.admit(host.name, now, asked.waited):
            count = len(places.heard)
            query = f"{asked.query}&waited={asked.waited + 1}"
            query += f"&choice={quote(asked.choice)}" if asked.choice else ""
            return Answer(script.waiting_script(url=self._url(asked), query=query, count=count))
        try:
            return await self._answer(host, asked, now)
        except RefusedError:
            places.leaves(host.name)
            raise

    async def _answer(self, host: Host, asked: Asked, now: float) -> Answer:
        if host.menu and not asked.choice:
            return Answer(self._menu(host, asked))
        rollouts = self._inventory.rollouts
        waits = rollouts.table.waiting_for(host.name) is not None
        if waits and not self._runs(host, now):
            await asyncio.to_thread(rollouts.offer, host.name, now)
        plan = self._inventory.systems.plan(host, await self.assignment(host, asked.choice))
        query = asked.query if host.menu is None and not asked.choice else None
        seal = ticket(host.name, asked.machine.mac, self._inventory.systems.key)
        try:
            return Answer(plan.script(self._url(asked), seal, query), host)
        except StorebootError as error:
            raise RefusedError(f"host {host.name} cannot boot: {error.message}") from None

    def _runs(self, host: Host, now: float) -> bool:
        """Whether somebody else asks in its name: a machine that runs does not."""
        boot = self._inventory.boots.latest(host.name)
        return boot is not None and boot.ended_at is None and boot.seen_at > now - RUNS

    def moves(self, host: str, now: float) -> None:
        """The host was heard of on its way."""
        for places in (self.start_up, self._guests):
            places.moves(host, now)

    def leaves(self, host: str) -> None:
        """The host is up, or will not be."""
        for places in (self.start_up, self._guests):
            places.leaves(host)

    def menu(self, asked: Asked, now: float) -> str:
        """Of GET /menu."""
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
        systems, deployments = self._inventory.systems, self._inventory.deployments
        if choice:
            return await self.prepared(self._chosen(host, choice), host)
        system = deployments.settled(host.like) if host.like else deployments.current(host.name)
        if system is None and host.name in self._faults:
            raise RefusedError(f"host {host.name} cannot boot: {self._faults[host.name].message}")
        if system is None:
            raise RefusedError(f"host {host.name} has no system: storeboot deploy {host.profile}")
        try:
            return await self.prepared(systems.booted(host, system), host)
        except StorebootError as error:
            raise RefusedError(error.message) from None

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
        """Deploying has made it ready; after a restart that is found, and else done again."""
        found = self._inventory.systems.get(system, host)
        if found is not None:
            return found
        try:
            return await asyncio.to_thread(self._inventory.systems.prepare, system, host)
        except StorebootError as error:
            raise RefusedError(f"{system} cannot boot: {error.message}") from None
