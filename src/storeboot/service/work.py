"""Blocking work, done elsewhere: so many pools as there are kinds, so that none waits for another.

The shell brings the pools. Nobody waits for blocking work without an end.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import ParamSpec, Protocol, TypeVar

from storeboot.hosts.database import Database
from storeboot.service.refusals import BusyError

P = ParamSpec("P")
T = TypeVar("T")
ASK_SECONDS = 4.0  # for a question to the database: longer than it may take
MAKE_SECONDS = 30.0  # until a system is ready; iPXE waits so long
CHORE_SECONDS = 120.0


class Pool(Protocol):
    """Threads for one kind of work."""

    async def run(
        self, seconds: float, function: Callable[P, T], *args: P.args, **kwargs: P.kwargs
    ) -> T:
        """Return what the function returns; TimeoutError if that takes more than `seconds`."""
        ...


@dataclass(frozen=True, slots=True)
class Work:
    """The pools of a server, and the database that most of the work asks."""

    database: Database
    asking: Pool  # short questions to database and files
    boots: Pool  # what a boot that begins waits for
    deciding: Pool  # what follows from what a boot has said
    making: Pool  # initrds and packs: seconds, sometimes minutes
    chores: Pool
    reports: Pool

    async def ask(self, function: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
        """Return what a short question to database and files is answered, within a few seconds.

        A database that hangs counts as away from then on, and the question is asked again, so that
        it is answered from memory. Raises BusyError if even that takes too long.
        """
        for _ in range(2):
            try:
                return await self.asking.run(ASK_SECONDS, function, *args, **kwargs)
            except TimeoutError:
                self.database.lost(f"no answer within {ASK_SECONDS:g} s")
        raise BusyError("the server's disk or database does not answer")
