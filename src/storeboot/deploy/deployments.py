"""Which generation a host boots: deploy, rollback, and what the configuration declares.

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
from storeboot.hosts.probations import Probations
from storeboot.hosts.schema import declarations
from storeboot.nfs.views import view_id
from storeboot.nix.profiles import Generation, Profile
from storeboot.nix.store import StorePath


@dataclass(frozen=True, slots=True)
class Deployments:
    """The profiles below the state directory; a running server sees a change at the next boot."""

    systems: Systems
    engine: Database

    def profile(self, host: str) -> Profile:
        return self.systems.state.profiles.of(self.systems.store, host)

    @property
    def probations(self) -> Probations:
        return Probations(self.engine)

    def current_number(self, host: str) -> int | None:
        """The generation that the host boots next; one on probation is booted once."""
        probation, profile = self.probations.open(host), self.profile(host)
        if probation is None:
            return profile.current_number()
        there = profile.system(probation.next) is not None
        return probation.next if there else probation.previous

    def current(self, host: str) -> StorePath | None:
        """What the host boots next."""
        number = self.current_number(host)
        return self.profile(host).system(number) if number is not None else None

    def settled(self, host: str) -> StorePath | None:
        """What the host boots next, were there no test."""
        probation, profile = self.probations.open(host), self.profile(host)
        number = probation.previous if probation else profile.current_number()
        return profile.system(number) if number is not None else None

    def remembered(self, host: str) -> StorePath | None:
        """What the host boots next, from memory and symlinks, without asking the database."""
        memory, profile = self.engine.memory, self.profile(host)
        test = memory.tests.get(host) if memory is not None else None
        if test is None:
            return profile.current()
        tried = None if self.engine.is_away else profile.system(test[0])
        return tried or profile.system(test[1])

    def generations(self, host: str) -> list[Generation]:
        """With the one that is booted next as the current one."""
        number = self.current_number(host)
        return [
            replace(each, current=each.number == number)
            for each in self.profile(host).generations()
        ]

    def needed(self, host: str) -> set[int]:
        """Generations that no garbage collection takes: the next boot's, and both of a test."""
        probation = self.probations.open(host)
        numbers = {self.profile(host).current_number()}
        if probation is not None:
            numbers |= {probation.generation, probation.previous}
        return {number for number in numbers if number is not None}

    def has_view(self, host: str, view: str) -> bool:
        """Whether one of the host's generations, or of their specialisations, has this view."""
        made = [generation.system for generation in self.profile(host).generations()]
        return any(view_id([system.text]).hex() == view for system in made) or any(
            view in self.systems.views(system) for system in made
        )

    def prepare(
        self, host: Host, system: StorePath, url: str, progress: Callable[[str], None]
    ) -> None:
        """Make ready all that deploying needs; StorebootError if the host could not boot it."""
        assignment = self.systems.prepare(self.systems.booted(host, system), host, progress)
        self.systems.plan(host, assignment).command_line(url)  # too long is an error now
        faults.reach("deploy.prepared")

    def deploy(
        self, host: Host, system: StorePath, url: str, progress: Callable[[str], None]
    ) -> int:
        """Make the system the host's next boot; return the number of its generation.

        Until the last step, the switch of a symlink, the host boots what it did before. All that
        the generation needs is on disk before that, and the switch is on disk when this returns.
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
        """Be alone with one host's generations, while no root is taken away."""
        with self.systems.state.locks.roots(), self.systems.state.locks.host(host):
            yield

    def root(self, host: Host, system: StorePath) -> None:
        """Root what the host boots of a system; its view may be gone since it was made ready."""
        state, store = self.systems.state, self.systems.store
        state.views.add(store, self.systems.booted(host, system))

    def declare(self, host: Host, url: str, progress: Callable[[str], None]) -> bool:
        """Deploy what the configuration gives a host, once for each change of it there; whether so.

        What was deployed by command since then stays until the configuration changes again.
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
        """A generation of the host; by default the one before the current one."""
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
        """The newest before the current one whose test has not failed; of a test, its fallback."""
        test = self.probations.open(host)
        if test is not None:
            return test.previous
        tests, current = self.probations.of(host), self.current_number(host) or 0
        bad = {number for number, each in tests.items() if not each.standing.is_good}
        return max((each for each in made if each < current and each not in bad), default=None)

    def forget(self, host: str) -> None:
        """A host that is removed: generations and tests; what they held is for the next gc."""
        with self.deciding(host), files.reported(f"the generations of host {host} stay"):
            self.probations.forget(host)
            self.profile(host).forget()

    def discard(self, host: str, numbers: Iterable[int], *, is_gone: bool) -> set[int]:
        """Delete generations that a collection has chosen, unless they are needed by now.

        Of a host that is gone all goes if the current one is among them. Returns those deleted.
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
        """Make a generation that is there the host's next boot."""
        self.systems.prepare(self.systems.booted(host, generation.system), host)
        with self.deciding(host.name), files.reported(f"host {host.name} is not switched"):
            self.profile(host.name).switch(generation.number)
            self.probations.drop(host.name)
