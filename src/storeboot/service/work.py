"""Blocking work, by kind. Each kind has its own thread pool, so that no kind waits for another.

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
ASK_SECONDS = 4.0  # for a query, including the database's own time limit
MAKE_SECONDS = 30.0  # until a system is prepared; iPXE waits that long
CHORE_SECONDS = 120.0


class Pool(Protocol):
    """Threads for one kind of work."""

    async def run(
        self, seconds: float, function: Callable[P, T], *args: P.args, **kwargs: P.kwargs
    ) -> T:
        """Call the function and return its result; raise TimeoutError after `seconds`."""
        ...


@dataclass(frozen=True, slots=True)
class Work:
    """The pools of a server, and the database that most of the work uses."""

    database: Database
    asking: Pool  # short questions to the database and to files
    boots: Pool  # what the beginning of a boot waits for
    deciding: Pool  # what follows from a recorded event
    making: Pool  # initrds and packs: seconds, sometimes minutes
    chores: Pool
    reports: Pool

    async def ask(self, function: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
        """Ask a short question of the database or of files, and return the answer.

        A database that hangs counts as unreachable from then on, and the question is asked once
        more, to be answered from memory. Raises BusyError if that takes too long as well.
        """
        for _ in range(2):
            try:
                return await self.asking.run(ASK_SECONDS, function, *args, **kwargs)
            except TimeoutError:
                self.database.lost(f"no answer within {ASK_SECONDS:g} s")
        raise BusyError("the server's disk or database does not answer")
