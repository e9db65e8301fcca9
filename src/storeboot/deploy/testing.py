"""Tests of generations: one boot tests a new generation, and the host reverts if it fails.

A test is a row (`hosts/probations.py`) that decides what the host boots as long as the test is
open. The profile stays at the previous generation until the test is confirmed.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from storeboot import faults, files
from storeboot.deploy.deployments import Deployments
from storeboot.errors import StorebootError
from storeboot.hosts.host import Host
from storeboot.hosts.probations import Probation, Probations, Standing
from storeboot.nix.store import StorePath
from storeboot.protocol.stages import Stage

AGENT_UNIT = "etc/systemd/system/storeboot-agent.service"  # nix/modules/client/agent.nix
AGAIN = "the machine booted again before it reached multi-user"


@dataclass(frozen=True, slots=True)
class GenerationTests:
    """Handles tests from their beginning until they are confirmed, failed or dropped."""

    deployments: Deployments

    @property
    def probations(self) -> Probations:
        return self.deployments.probations

    def begin(
        self,
        host: Host,
        system: StorePath,
        url: str,
        progress: Callable[[str], None],
        *,
        seconds: float,
        confirms: bool,
    ) -> int:
        """Begin a test of the system in one boot; return the number of its generation.

        The profile stays at the previous generation.
        """  # fmt: skip
        self.fallback(host, system)  # an error here comes before anything is built
        self.deployments.prepare(host, system, url, progress)
        profile = self.deployments.profile(host.name)
        with (
            self.deployments.deciding(host.name),
            files.reported(f"cannot deploy to host {host.name}"),
        ):
            previous = self.fallback(host, system)
            self.deployments.root(host, system)
            # Record the test first: from here on it decides, wherever nix-env leaves the profile.
            test = Probation(host.name, profile.next_number(system), previous, seconds, confirms)
            self.probations.begin(test)
            faults.reach("test.begun")
            profile.set(system)
            faults.reach("test.added")
            profile.switch(previous)
        return test.generation

    def fallback(self, host: Host, system: StorePath) -> int:
        """Return the generation that the host reverts to if a test of the system fails.

        Raises StorebootError if there is none, if it is this system, or if nobody would tell
        whether this system comes up.
        """
        self.require_agent(host, system)
        other = self.probations.open(host.name)
        previous = other.previous if other else self.deployments.profile(host.name).current_number()
        if previous is None:
            raise StorebootError(
                f"host {host.name!r} has no generation to fall back to",
                f"deploy one without --test first: storeboot deploy {host.name} SYSTEM",
            )
        if self.deployments.profile(host.name).system(previous) == system:
            raise StorebootError(
                f"host {host.name!r} already boots {system}", "there is nothing to test"
            )
        return previous

    def require_agent(self, host: Host, system: StorePath) -> None:
        """Raise StorebootError if the host boots the system without an agent.

        In mode native the system must bring the agent itself. Without it a machine that has come up
        looks like one that hangs.
        """
        if host.mode != "native":
            return
        systems = self.deployments.systems
        systems.store.require(system)
        if systems.store.follow(systems.booted(host, system), AGENT_UNIT) is None:
            raise StorebootError(
                f"host {host.name!r} cannot test {system}: its mode is native, and the system has "
                f"no storeboot-agent.service that would tell whether it comes up",
                "set storeboot.client.enable and storeboot.client.native.enable in the system, or "
                "deploy it without a test",
            )

    def confirm(self, host: Host, *, dry_run: bool = False) -> int:
        """Keep the generation that has passed its test, as the host's next boot; return its
        number."""
        with self.deployments.deciding(host.name):
            probation = self.probations.open(host.name)
            if probation is None or probation.standing is not Standing.PASSED:
                stands = f"is {probation.standing}" if probation else "is not there"
                raise StorebootError(
                    f"host {host.name!r} has no test to confirm: it {stands}",
                    f"see storeboot generations {host.name}",
                )
            if not dry_run:
                self._accept(probation)
        return probation.generation

    def _accept(self, probation: Probation) -> None:
        """Confirm a test, the profile first: after a kill between the two steps, both are
        repeated."""
        self.deployments.profile(probation.host).switch(probation.generation)
        self.probations.pass_on(probation, Standing.CONFIRMED)

    def take_back(self, host: str, generation: int) -> bool:
        """Drop the host's test of a generation unless it has begun; return whether it was
        dropped."""
        with self.deployments.deciding(host):
            test = self.probations.open(host)
            if test is None or test.generation != generation:
                return False
            return test.standing is Standing.PENDING and self.probations.pass_on(
                test, Standing.DROPPED
            )

    def boot_began(self, host: str, boot: str, view: str, now: float) -> None:
        """Note that a boot has begun: that of the test, or another one, which ends the test's
        boot."""
        if self.probations.open(host) is None:
            return
        with self.deployments.deciding(host):
            self._boot_began(host, boot, view, now)

    def _boot_began(self, host: str, boot: str, view: str, now: float) -> None:
        probation = self.probations.open(host)
        if probation is None:
            return
        is_its = self._is_its(probation, view)
        match probation.standing:
            case Standing.PENDING if is_its:
                self.probations.pass_on(probation, Standing.RUNNING, boot=boot, began_at=now)
            case Standing.RUNNING if probation.boot is None and is_its:
                self.probations.pass_on(probation, Standing.RUNNING, boot=boot)
            case Standing.RUNNING if probation.boot != boot:
                self._fail(probation, AGAIN)
            case _:
                pass

    def initrd_fetched(self, host: str, view: str, now: float) -> None:
        """Note that a machine in mode native has fetched the initrd of a view.

        With this the clock of its test starts, because the machine says only in stage 2 that its
        boot has begun. If it never does, the test fails when its time is over, or as soon as the
        machine fetches the initrd of another system.
        """
        if self.probations.open(host) is None:
            return
        with self.deployments.deciding(host):
            probation = self.probations.open(host)
            if probation is None:
                return
            is_its = self._is_its(probation, view)
            if probation.standing is Standing.PENDING and is_its:
                self.probations.pass_on(probation, Standing.RUNNING, began_at=now)
            elif probation.standing is Standing.RUNNING and probation.boot is None and not is_its:
                self._fail(probation, AGAIN)

    def _is_its(self, probation: Probation, view: str) -> bool:
        """Return whether a view is one of the system that is tested."""
        system = self.deployments.profile(probation.host).system(probation.generation)
        return system is not None and view in self.deployments.systems.views(system)

    def stage_reached(self, host: str, boot: str, stage: str, detail: str) -> bool:
        """Note that a boot has come up, or that it has failed and why.

        Return whether the host's test has failed by it.
        """
        if stage not in (Stage.MULTI_USER, Stage.FAILED) or self.probations.open(host) is None:
            return False
        with self.deployments.deciding(host):
            probation = self.probations.open(host)
            if probation is None or probation.boot != boot:
                return False
            if probation.standing is not Standing.RUNNING:
                return False
            if stage == Stage.MULTI_USER:
                self.probations.pass_on(probation, Standing.PASSED)
                faults.reach("test.passed")
            else:
                self._fail(probation, detail)
            confirms = probation.confirms
        if stage == Stage.MULTI_USER and confirms:
            self.settle(host, now=0.0)
        return stage == Stage.FAILED

    def unsettled(self, now: float) -> list[Probation]:
        """Return the tests that are overdue, and those that are still to confirm themselves."""
        return [each for each in self.probations.all_open() if each.overdue(now) or each.confirmed]

    def settle(self, host: str, *, now: float, units: str = "") -> Probation | None:
        """Fail the host's test if its boot is overdue; confirm it if it has passed and may be.

        Return the test if it has failed. `units` are those that the machine waits for, if it has
        named any.
        """
        with self.deployments.deciding(host):
            probation = self.probations.open(host)
            if probation is not None and probation.confirmed:
                self._accept(probation)
            elif probation is not None and probation.overdue(now):
                waits = f"; the machine waits for {units}" if units else ""
                self._fail(probation, f"no multi-user within {probation.seconds:.0f} s{waits}")
                return probation
        return None

    def _fail(self, probation: Probation, reason: str) -> None:
        profile = self.deployments.profile(probation.host)
        if profile.current_number() != probation.previous:  # `deploy --test` was killed on its way
            profile.switch(probation.previous)
        self.probations.pass_on(probation, Standing.FAILED, reason=reason)
