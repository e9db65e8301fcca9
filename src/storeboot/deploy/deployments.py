"""Which generation a host boots: deploy, rollback, and what the configuration declares."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from sqlalchemy import Engine, delete, insert, select

from storeboot import faults
from storeboot.deploy.systems import Systems
from storeboot.errors import StorebootError
from storeboot.hosts.host import Host
from storeboot.hosts.schema import declarations
from storeboot.nfs.views import view_id
from storeboot.nix.profiles import Generation, Profile
from storeboot.nix.store import StorePath


@dataclass(frozen=True, slots=True)
class Deployments:
    """The profiles below the state directory; a running server sees a change at the next boot."""

    systems: Systems
    engine: Engine

    def profile(self, host: str) -> Profile:
        return self.systems.state.profile(self.systems.store, host)

    def current(self, host: str) -> StorePath | None:
        """What the host boots next."""
        return self.profile(host).current()

    def generations(self, host: str) -> list[Generation]:
        return self.profile(host).generations()

    def has_view(self, host: str, view: str) -> bool:
        """Whether one of the host's generations has this view."""
        return any(
            view_id([generation.system.text]).hex() == view for generation in self.generations(host)
        )

    def deploy(
        self, host: Host, system: StorePath, url: str, progress: Callable[[str], None]
    ) -> int:
        """Make the system the host's next boot; the number of its generation.

        Until the last step, the switch of a symlink, the host boots what it did before.
        """
        assignment = self.systems.prepare(system, progress)
        self.systems.plan(host, assignment).command_line(url)  # too long is an error now
        faults.reach("deploy.prepared")
        with self.systems.state.lock():
            self.systems.state.add_view(self.systems.store, system)  # should it be gone meanwhile
            number = self.profile(host.name).set(system)
        faults.reach("deploy.switched")
        return number

    def declare(self, host: Host, url: str, progress: Callable[[str], None]) -> None:
        """Deploy what the configuration gives a host, once for each change of it there.

        What was deployed by command since then stays until the configuration changes again.
        """
        if host.system is None:
            return
        query = select(declarations.c.system).where(declarations.c.host == host.name)
        with self.engine.connect() as connection:
            known = connection.execute(query).scalar()
        if known == host.system.text and self.current(host.name) is not None:
            return
        self.deploy(host, host.system, url, progress)
        with self.engine.begin() as connection:
            connection.execute(delete(declarations).where(declarations.c.host == host.name))
            connection.execute(insert(declarations).values(host=host.name, system=host.system.text))

    def goal(self, host: Host, number: int | None = None) -> Generation:
        """A generation of the host; by default the one before the current one."""
        made = {generation.number: generation for generation in self.generations(host.name)}
        current = self.profile(host.name).current_number()
        if number is None:
            number = max((each for each in made if each < (current or 0)), default=None)
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

    def switch(self, host: Host, generation: Generation) -> None:
        """Make a generation that is there the host's next boot."""
        self.systems.prepare(generation.system)
        with self.systems.state.lock():
            self.profile(host.name).switch(generation.number)
