"""Rollouts: one system for many hosts, so many at a time, until one too many has failed.

waiting ──its turn──► trying ──test confirmed──► done
   ▲                    ├──test failed──► failed
   └──did not begin─────┘        left: another deployment came between, or it was stopped
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

from sqlalchemy import func, insert, select, update

from storeboot.hosts import rows
from storeboot.hosts.database import Database
from storeboot.hosts.schema import rollout_hosts, rollouts
from storeboot.protocol.orders import Order


class RolloutStanding(StrEnum):
    """Of a rollout."""

    RUNNING = "running"
    DONE = "done"
    STOPPED = "stopped"


class MemberStanding(StrEnum):
    """A host's part in a rollout."""

    WAITING = "waiting"
    TRYING = "trying"
    DONE = "done"
    FAILED = "failed"
    LEFT = "left"

    @property
    def is_open(self) -> bool:
        return self in (MemberStanding.WAITING, MemberStanding.TRYING)


@dataclass(frozen=True, slots=True)
class Rollout:
    """Times in seconds; `began_at` since 1970."""

    id: int
    target: str
    system: str
    batch: int  # machines that try it at once, at most
    max_failures: int  # so many end it
    word: Order | None  # what running machines are asked for; else they are waited for
    seconds: float  # until a machine that was asked begins to boot, and from there to multi-user
    began_at: float
    standing: RolloutStanding = RolloutStanding.RUNNING
    reason: str = ""


@dataclass(frozen=True, slots=True)
class Member:
    """A host of a rollout."""

    rollout: int
    host: str
    position: int
    standing: MemberStanding = MemberStanding.WAITING
    generation: int | None = None  # the one that is tried
    since: float | None = None  # when it got it
    asked: str | None = None  # the boot whose agent was asked
    reason: str = ""


class RolloutTable:
    """The two tables, one method for each thing that is asked of them."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def begin(self, rollout: Rollout, hosts: list[str]) -> int:
        """Its id; hosts that another one has not come to yet leave that."""
        values = rows.to_row(rollout, "id")
        for host in hosts:
            self.leave(host, "another rollout started")
        with self._database.begin() as connection:
            made = connection.execute(insert(rollouts).values(values).returning(rollouts.c.id))
            number = int(made.scalar_one())
            members = [
                {
                    "rollout": number,
                    "host": host,
                    "position": position,
                    "standing": MemberStanding.WAITING,
                }
                for position, host in enumerate(hosts)
            ]
            connection.execute(insert(rollout_hosts), members)
        return number

    def all(self) -> list[Rollout]:
        """The newest first."""
        with self._database.connect() as connection:
            return rows.every(connection, Rollout, select(rollouts).order_by(rollouts.c.id.desc()))

    def get(self, number: int) -> Rollout | None:
        with self._database.connect() as connection:
            return rows.first(connection, Rollout, select(rollouts).where(rollouts.c.id == number))

    def active(self) -> list[Rollout]:
        """That run, or have hosts that still try."""
        trying = select(rollout_hosts.c.rollout).where(
            rollout_hosts.c.standing == MemberStanding.TRYING
        )
        query = select(rollouts).where(
            (rollouts.c.standing == RolloutStanding.RUNNING) | rollouts.c.id.in_(trying)
        )
        with self._database.connect() as connection:
            return rows.every(connection, Rollout, query.order_by(rollouts.c.id))

    def members(self, rollout: int) -> list[Member]:
        """In their order."""
        query = select(rollout_hosts).where(rollout_hosts.c.rollout == rollout)
        with self._database.connect() as connection:
            return rows.every(connection, Member, query.order_by(rollout_hosts.c.position))

    def waiting_for(self, host: str) -> int | None:
        """The running rollout in which a host waits for its turn."""
        query = (
            select(rollouts.c.id)
            .join(rollout_hosts, rollout_hosts.c.rollout == rollouts.c.id)
            .where(rollout_hosts.c.host == host, rollout_hosts.c.standing == MemberStanding.WAITING)
            .where(rollouts.c.standing == RolloutStanding.RUNNING)
        )
        with self._database.connect() as connection:
            found: int | None = connection.execute(
                query.order_by(rollouts.c.id.desc()).limit(1)
            ).scalar()
        return found

    def asked(self, boot: str) -> Member | None:
        """The member whose machine was asked in this boot, and still tries."""
        query = select(rollout_hosts).where(
            rollout_hosts.c.asked == boot, rollout_hosts.c.standing == MemberStanding.TRYING
        )
        with self._database.connect() as connection:
            return rows.first(connection, Member, query)

    def change(self, member: Member, standing: MemberStanding, **changes: object) -> bool:
        """Whether it still stood where it was, and now stands there."""
        with self._database.begin() as connection:
            done = connection.execute(
                update(rollout_hosts)
                .where(
                    rollout_hosts.c.rollout == member.rollout,
                    rollout_hosts.c.host == member.host,
                    rollout_hosts.c.standing == member.standing,
                )
                .values(standing=standing, **changes)
            )
        return done.rowcount == 1

    def leave(self, host: str, reason: str) -> None:
        """A host does not wait any more; one that tries is seen to have left by its test."""
        with self._database.begin() as connection:
            connection.execute(
                update(rollout_hosts)
                .where(
                    rollout_hosts.c.host == host, rollout_hosts.c.standing == MemberStanding.WAITING
                )
                .values(standing=MemberStanding.LEFT, reason=reason)
            )

    def end(self, rollout: int, standing: RolloutStanding, reason: str = "") -> None:
        with self._database.begin() as connection:
            connection.execute(
                update(rollouts)
                .where(rollouts.c.id == rollout, rollouts.c.standing == RolloutStanding.RUNNING)
                .values(standing=standing, reason=reason)
            )

    def counts(self, rollout: int) -> dict[MemberStanding, int]:
        """How many hosts stand where."""
        query = (
            select(rollout_hosts.c.standing, func.count())
            .where(rollout_hosts.c.rollout == rollout)
            .group_by(rollout_hosts.c.standing)
        )
        with self._database.connect() as connection:
            return {
                MemberStanding(standing): count for standing, count in connection.execute(query)
            }
