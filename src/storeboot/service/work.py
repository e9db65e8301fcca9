"""Blocking work, by kind. Each kind has a pool of its own, so that none has to wait for another.

`serve` provides the pools. Every wait for blocking work has a time limit.
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
        """Call the function and return its result; TimeoutError after `seconds`."""
        ...


@dataclass(frozen=True, slots=True)
class Work:
    """The pools of a server, and the database that most of the work uses."""

    database: Database
    asking: Pool  # short questions to database and files
    boots: Pool  # what a boot that begins waits for
    deciding: Pool  # what follows from what a boot has said
    making: Pool  # initrds and packs: seconds, sometimes minutes
    chores: Pool
    reports: Pool

    async def ask(self, function: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
        """Ask a short question of the database or of files; return the answer within seconds.

        A database that hangs counts as away from then on, and the question is asked once more, so
        that it is answered from memory. Raises BusyError if even that takes too long.
        """
        for _ in range(2):
            try:
                return await self.asking.run(ASK_SECONDS, function, *args, **kwargs)
            except TimeoutError:
                self.database.lost(f"no answer within {ASK_SECONDS:g} s")
        raise BusyError("the server's disk or database does not answer")
