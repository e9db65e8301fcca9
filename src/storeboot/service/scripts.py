"""Answers machines that ask for a script: with their host's, a menu, or one that waits."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from urllib.parse import quote

import structlog

from storeboot.boot import script
from storeboot.boot.plan import ticket
from storeboot.errors import StorebootError
from storeboot.hosts.boot import Boot
from storeboot.hosts.database import DatabaseAwayError
from storeboot.hosts.host import Host
from storeboot.service import choosing
from storeboot.service.alias import Alias
from storeboot.service.asked import Asked
from storeboot.service.assignments import Assignments
from storeboot.service.current import Current
from storeboot.service.refusals import BusyError, RefusedError
from storeboot.service.rivals import Rivals
from storeboot.service.turns import Turns
from storeboot.service.work import Work

OFFER_SECONDS = 20.0  # until a rollout has begun a test of its system
log = structlog.get_logger()


@dataclass(frozen=True, slots=True)
class Answer:
    """A script, and the host whose boot it starts, or None."""

    text: str
    host: Host | None = None


class Scripts:
    """Writes scripts. Asking for one changes whose turn it is, and what the alias shows."""

    def __init__(
        self,
        current: Current,
        work: Work,
        turns: Turns,
        assignments: Assignments,
        alias: Alias,
        latest: Callable[[str], Boot | None],
    ) -> None:
        """`latest` returns a host's newest boot, or None."""
        self._current = current
        self._work = work
        self._turns = turns
        self._assignments = assignments
        self._alias = alias
        self._rivals = Rivals(latest)

    async def entry(self, local: str) -> str:
        """Return the script that identifies a machine; `local` is the server address it asked."""
        inventory = self._current.inventory
        url = inventory.url_towards(local)
        return script.entry_script(url, await self._work.ask(inventory.registry.labels))

    async def answer(self, asked: Asked, now: float) -> Answer:
        """Return a machine's script; raise RefusedError with the reason if it may not or cannot
        boot."""
        inventory = self._current.inventory
        host = await self._work.ask(choosing.find, inventory, asked, now)
        if host is None:
            return Answer(await self._work.ask(choosing.hosts_menu, inventory, asked))
        beat = inventory.config.agent.heartbeat
        rival = await self._work.ask(self._rivals.of, host, asked.machine, beat, now)
        if rival is not None and rival.runs:
            if rival.is_late(asked.waited * script.PAUSE):
                raise RefusedError(f"{rival}; {rival.cure}")
            return Answer(self._wait(asked, str(rival)))
        places = self._turns.of(host)
        if not places.admit(host.name, now, asked.waited):
            count = len(places.heard)
            return Answer(self._wait(asked, f"{count} machines are starting"))
        try:
            return await self._answer(host, asked, now)
        except RefusedError as error:
            places.leaves(host.name)
            raise RefusedError(str(error), "" if host.like else host.name) from None
        except BusyError as error:
            places.leaves(host.name)
            return Answer(self._wait(asked, str(error)))

    def _wait(self, asked: Asked, reason: str) -> str:
        query = f"{asked.query}&waited={asked.waited + 1}"
        query += f"&choice={quote(asked.choice)}" if asked.choice else ""
        return script.waiting_script(url=self._url(asked), query=query, reason=reason)

    async def _answer(self, host: Host, asked: Asked, now: float) -> Answer:
        inventory = self._current.inventory
        if host.menu and not asked.choice:
            menu = choosing.generations_menu
            return Answer(await self._work.ask(menu, inventory, host, asked))
        if await self._work.ask(choosing.is_offered, inventory, host, now):
            await self._offer(host, now)
        assignment = await self._assignments.of_host(host, asked.choice)
        plan = inventory.systems.plan(host, assignment)
        query = asked.query if host.menu is None and not asked.choice else None
        seal = ticket(host.name, asked.machine.mac, inventory.systems.key)
        try:
            text = plan.script(self._url(asked), seal, query)
        except StorebootError as error:
            raise RefusedError(f"host {host.name} cannot boot: {error.message}") from None
        await self._alias.gives(host, plan.view, asked.address, now)
        return Answer(text, host)

    async def _offer(self, host: Host, now: float) -> None:
        """Let a rollout give the host its system. If that fails or takes too long, nothing
        changes."""
        offer = self._current.inventory.rollouts.offer
        try:
            await self._work.making.run(OFFER_SECONDS, offer, host.name, now)
        except (TimeoutError, DatabaseAwayError, OSError) as error:
            log.error("rollout.not_offered", host=host.name, reason=str(error))

    async def menu(self, asked: Asked, now: float) -> str:
        """Return the menu that somebody has asked for at a machine's console."""
        return await self._work.ask(choosing.menu, self._current.inventory, asked, now)

    def _url(self, asked: Asked) -> str:
        return self._current.inventory.url_towards(asked.local)
