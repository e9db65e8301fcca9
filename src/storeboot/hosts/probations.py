"""Tests of generations: one boot tests a generation, and the host reverts if it does not come up.

pending ──its boot begins──► running ──multi-user──► passed ──confirm──► confirmed
                                └──failure, another boot, or no multi-user in time──► failed
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from enum import StrEnum

from sqlalchemy import Update, delete, insert, select, update

from storeboot.hosts import rows
from storeboot.hosts.database import Database, DatabaseAwayError
from storeboot.hosts.schema import probations


class Standing(StrEnum):
    PENDING = "pending"
    RUNNING = "running"
    PASSED = "passed"
    FAILED = "failed"
    CONFIRMED = "confirmed"
    DROPPED = "dropped"  # another deployment came before it was decided

    @property
    def is_good(self) -> bool:
        """Return whether a generation with this standing is one to roll back to."""
        return self in (Standing.PASSED, Standing.CONFIRMED)


OPEN = (Standing.PENDING, Standing.RUNNING, Standing.PASSED)


@dataclass(frozen=True, slots=True)
class Probation:
    """A test of a generation. A host has at most one open test. Times in seconds."""

    host: str
    generation: int
    previous: int  # the fallback: the generation to which the host reverts
    seconds: float  # from the beginning of its boot to multi-user, at most
    confirms: bool  # whether it confirms itself at multi-user
    standing: Standing = Standing.PENDING
    boot: str | None = None
    began_at: float | None = None
    reason: str = ""

    @property
    def next(self) -> int:
        """Return the generation that the host boots next."""
        return self.generation if self.standing is Standing.PENDING else self.previous

    @property
    def confirmed(self) -> bool:
        """Return whether the test has passed and confirms itself."""
        return self.standing is Standing.PASSED and self.confirms

    def overdue(self, now: float) -> bool:
        running = self.standing is Standing.RUNNING and self.began_at is not None
        return running and now > (self.began_at or 0.0) + self.seconds


class Probations:
    """The table of tests, with one method for each question."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def open(self, host: str) -> Probation | None:
        """Return the host's open test, or None.

        In a server whose database is unreachable, the test counts as begun, so that the host boots
        its fallback: that the test has begun could not be recorded.
        """
        query = select(probations).where(probations.c.host == host, probations.c.standing.in_(OPEN))
        try:
            with self._database.connect() as connection:
                test = rows.first(connection, Probation, query)
        except DatabaseAwayError:
            if self._database.memory is None:
                raise
            return _remembered(host, self._database.memory.tests.get(host))
        self._note(host, test)
        return test

    def _note(self, host: str, test: Probation | None) -> None:
        if self._database.memory is not None:
            is_open = test is not None and test.standing in OPEN
            self._database.memory.note_test(host, _both(test) if test and is_open else None)

    def all_open(self) -> list[Probation]:
        query = select(probations).where(probations.c.standing.in_(OPEN))
        with self._database.connect() as connection:
            found = rows.every(connection, Probation, query)
        if self._database.memory is not None:
            self._database.memory.tests = {each.host: _both(each) for each in found}
        return found

    def of(self, host: str) -> dict[int, Probation]:
        """Return the host's tests by generation, including those that were decided."""
        query = select(probations).where(probations.c.host == host)
        with self._database.connect() as connection:
            found = rows.every(connection, Probation, query)
        return {each.generation: each for each in found}

    def begin(self, probation: Probation) -> None:
        """Record a test. An open test of the host is dropped."""
        same = (
            probations.c.host == probation.host,
            probations.c.generation == probation.generation,
        )
        with self._database.begin() as connection:
            connection.execute(delete(probations).where(*same))
            connection.execute(_drop(probation.host))
            connection.execute(insert(probations).values(rows.to_row(probation)))
        self._note(probation.host, probation)

    def drop(self, host: str) -> None:
        with self._database.begin() as connection:
            connection.execute(_drop(host))
        self._note(host, None)

    def forget(self, host: str, generations: list[int] | None = None) -> None:
        """Forget the tests of some generations, or all tests of a host."""
        which = [probations.c.host == host]
        if generations is not None:
            which.append(probations.c.generation.in_(generations))
        with self._database.begin() as connection:
            connection.execute(delete(probations).where(*which))

    def pass_on(self, probation: Probation, standing: Standing, **changes: object) -> bool:
        """Change a test's standing unless it has changed since; return whether it was changed."""
        with self._database.begin() as connection:
            done = connection.execute(
                update(probations)
                .where(
                    probations.c.host == probation.host,
                    probations.c.generation == probation.generation,
                    probations.c.standing == probation.standing,
                )
                .values(standing=standing, **changes)
            )
        if done.rowcount == 1:
            self._note(probation.host, replace(probation, standing=standing))
        return done.rowcount == 1


def _drop(host: str) -> Update:
    return (
        update(probations)
        .where(probations.c.host == host, probations.c.standing.in_(OPEN))
        .values(standing=Standing.DROPPED)
    )


def _both(test: Probation) -> tuple[int, int]:
    return test.next, test.previous


def _remembered(host: str, both: tuple[int, int] | None) -> Probation | None:
    if both is None:
        return None
    return Probation(host, both[0], both[1], 0.0, confirms=False, standing=Standing.RUNNING)
