"""Which generation a host boots: deploy, roll back, and what the configuration declares.

Tests of generations are in `testing.py`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace

from sqlalchemy import delete, insert, select

from storeboot import faults, files
from storeboot.deploy.systems import Systems
from storeboot.errors import StorebootError
from storeboot.hosts.database import Database
from storeboot.hosts.host import Host
from storeboot.hosts.probations import Probation, Probations
from storeboot.hosts.schema import declarations
from storeboot.nfs.views import view_id
from storeboot.nix.profiles import Generation, Profile
from storeboot.nix.store import StorePath


@dataclass(frozen=True, slots=True)
class Deployments:
    """The profiles in the state directory. A running server sees a change at the next boot."""

    systems: Systems
    engine: Database

    def profile(self, host: str) -> Profile:
        return self.systems.state.profiles.of(self.systems.store, host)

    @property
    def probations(self) -> Probations:
        return Probations(self.engine)

    def current_number(self, host: str) -> int | None:
        """Return the generation that the host boots next, or None; a pending test comes first."""
        return _next(self.profile(host), self.probations.open(host))

    def current(self, host: str) -> StorePath | None:
        """Return the system that the host boots next, or None."""
        number = self.current_number(host)
        return self.profile(host).system(number) if number is not None else None

    def all_current(self, hosts: Iterable[str]) -> dict[str, StorePath | None]:
        """Return the system that each host boots next, with one question to the database."""
        tests = {test.host: test for test in self.probations.all_open()}
        found = {}
        for host in hosts:
            profile = self.profile(host)
            number = _next(profile, tests.get(host))
            found[host] = profile.system(number) if number is not None else None
        return found

    def settled(self, host: str) -> StorePath | None:
        """Return the system that the host would boot next if it had no test, or None."""
        probation, profile = self.probations.open(host), self.profile(host)
        number = probation.previous if probation else profile.current_number()
        return profile.system(number) if number is not None else None

    def remembered(self, host: str) -> StorePath | None:
        """Return the system that the host boots next, from memory and symlinks, not the
        database."""
        memory, profile = self.engine.memory, self.profile(host)
        test = memory.tests.get(host) if memory is not None else None
        if test is None:
            return profile.current()
        tried = None if self.engine.is_away else profile.system(test[0])
        return tried or profile.system(test[1])

    def generations(self, host: str) -> list[Generation]:
        """Return the host's generations. The one that boots next is marked as current."""
        number = self.current_number(host)
        return [
            replace(each, current=each.number == number)
            for each in self.profile(host).generations()
        ]

    def needed(self, host: str) -> set[int]:
        """Return generations that no collection may delete: the next boot's, and both of a test."""
        probation = self.probations.open(host)
        numbers = {self.profile(host).current_number()}
        if probation is not None:
            numbers |= {probation.generation, probation.previous}
        return {number for number in numbers if number is not None}

    def has_view(self, host: str, view: str) -> bool:
        """Return whether one of the host's generations, or a specialisation in one, has this
        view."""
        made = [generation.system for generation in self.profile(host).generations()]
        return any(view_id([system.text]).hex() == view for system in made) or any(
            view in self.systems.views(system) for system in made
        )

    def prepare(
        self, host: Host, system: StorePath, url: str, progress: Callable[[str], None]
    ) -> None:
        """Prepare everything that deploying needs; raise StorebootError if the host cannot
        boot it."""
        assignment = self.systems.prepare(self.systems.booted(host, system), host, progress)
        self.systems.plan(host, assignment).command_line(url)  # an error if the line is too long
        faults.reach("deploy.prepared")

    def judge(self, host: Host, system: StorePath, url: str) -> None:
        """Raise the error with which `prepare` would end; write nothing."""
        self.systems.judge(self.systems.booted(host, system), host).command_line(url)

    def deploy(
        self, host: Host, system: StorePath, url: str, progress: Callable[[str], None]
    ) -> int:
        """Make the system the host's next boot; return the number of its generation.

        Until the last step, the switch of a symlink, the host boots what it booted before.
        Everything that the generation needs is on disk before that, and the switch is on disk on
        return.
        """
        self.prepare(host, system, url, progress)
        with self.deciding(host.name), files.reported(f"cannot deploy to host {host.name}"):
            self.root(host, system)
            number = self.profile(host.name).set(system)
            faults.reach("deploy.switched")
            self.probations.drop(host.name)
        return number

    @contextmanager
    def deciding(self, host: str) -> Iterator[None]:
        """Lock one host's generations, and keep all roots from being removed."""
        with self.systems.state.locks.roots(), self.systems.state.locks.host(host):
            yield

    def root(self, host: Host, system: StorePath) -> None:
        """Root what the host boots of a system: its view may have been dropped since it was
        prepared."""
        state, store = self.systems.state, self.systems.store
        state.views.add(store, self.systems.booted(host, system))

    def declare(self, host: Host, url: str, progress: Callable[[str], None]) -> bool:
        """Deploy a system that the configuration declares, once per change there; return whether
        so.

        A system that was deployed by command stays until the configuration changes again.
        """
        if host.system is None:
            return False
        query = select(declarations.c.system).where(declarations.c.host == host.name)
        with self.engine.connect() as connection:
            known = connection.execute(query).scalar()
        if known == host.system.text and self.current(host.name) is not None:
            return False
        self.deploy(host, host.system, url, progress)
        with self.engine.begin() as connection:
            connection.execute(delete(declarations).where(declarations.c.host == host.name))
            connection.execute(insert(declarations).values(host=host.name, system=host.system.text))
        return True

    def goal(self, host: Host, number: int | None = None) -> Generation:
        """Return a generation of the host, by default the one before the current one."""
        made = {generation.number: generation for generation in self.generations(host.name)}
        if number is None:
            number = self._before(host.name, made)
        if number is None:
            raise StorebootError(
                f"host {host.name!r} has no generation before the current one",
                f"see storeboot generations {host.name}",
            )
        if number not in made:
            raise StorebootError(
                f"host {host.name!r} has no generation {number}",
                f"it has {', '.join(map(str, made)) or 'none'}",
            )
        return made[number]

    def _before(self, host: str, made: Iterable[int]) -> int | None:
        """Return the newest generation before the current one whose test has not failed.

        While the host has a test, return the test's fallback.
        """
        test = self.probations.open(host)
        if test is not None:
            return test.previous
        tests, current = self.probations.of(host), self.current_number(host) or 0
        bad = {number for number, each in tests.items() if not each.standing.is_good}
        return max((each for each in made if each < current and each not in bad), default=None)

    def forget(self, host: str) -> None:
        """Delete generations and tests of a removed host. Garbage collection frees what they
        held."""
        with self.deciding(host), files.reported(f"the generations of host {host} stay"):
            self.probations.forget(host)
            self.profile(host).forget()

    def discard(self, host: str, numbers: Iterable[int], *, is_gone: bool) -> set[int]:
        """Delete generations that a collection has chosen; return those that were deleted.

        Generations that are needed by now stay. If the host no longer exists (`is_gone`) and its
        current generation is among those chosen, all its generations are deleted.
        """
        going, profile = set(numbers), self.profile(host)
        with self.deciding(host), files.reported(f"the generations of host {host} stay"):
            if is_gone and profile.current_number() in {None, *going}:
                profile.forget()
            else:
                going -= self.needed(host)
                profile.delete(going)
            self.probations.forget(host, sorted(going))
        return going

    def switch(self, host: Host, generation: Generation) -> None:
        """Make an existing generation the host's next boot."""
        self.systems.prepare(self.systems.booted(host, generation.system), host)
        with self.deciding(host.name), files.reported(f"host {host.name} is not switched"):
            self.profile(host.name).switch(generation.number)
            self.probations.drop(host.name)


def _next(profile: Profile, test: Probation | None) -> int | None:
    """Return the generation that boots next: an open test's, or the profile's current one."""
    if test is None:
        return profile.current_number()
    return test.next if profile.system(test.next) is not None else test.previous
