"""Carries rollouts on: decides which host is next, which machine is asked, and when to stop.

Each host gets the system as a test that confirms itself. So a machine that does not come up is back
on its old generation at its next boot, whatever happens to the rollout. A host gets its test when
its machine asks for a boot script, or when the machine is asked to restart.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass

import structlog

from storeboot import faults
from storeboot.boot.state import SILENT_HEARTBEATS, is_speaking
from storeboot.deploy.deployments import Deployments
from storeboot.deploy.testing import GenerationTests
from storeboot.errors import StorebootError
from storeboot.hosts.boots import Boot, Boots
from storeboot.hosts.holds import Holds
from storeboot.hosts.host import Host
from storeboot.hosts.orders import Orders
from storeboot.hosts.probations import Standing
from storeboot.hosts.registry import Registry
from storeboot.hosts.rollouts import Member, MemberStanding, Rollout, RolloutStanding, RolloutTable
from storeboot.nix.store import StorePath

log = structlog.get_logger()
OFFER_SECONDS = 300.0  # from the script to the beginning of the boot
BETWEEN = "something else was deployed"
Progress = Callable[[str], None]


@dataclass(frozen=True, slots=True)
class Rollouts:
    """All decisions are made under one lock, by any process."""

    table: RolloutTable
    tests: GenerationTests
    registry: Registry
    boots: Boots
    orders: Orders
    holds: Holds
    url: str
    heartbeat: float  # seconds between two heartbeats of an agent

    @property
    def deployments(self) -> Deployments:
        return self.tests.deployments

    def begin(self, rollout: Rollout, hosts: Iterable[Host], progress: Progress) -> int:
        """Begin a rollout and return its id, unless one of the hosts cannot boot the system."""
        system = StorePath(rollout.system)
        chosen = list(hosts)
        for host in chosen:
            self.tests.require_agent(host, system)
            self.deployments.prepare(host, system, self.url, progress)
        systems = self.deployments.systems
        systems.rooted(system)
        with systems.state.locks.rollouts():
            number = self.table.begin(rollout, [host.name for host in chosen])
            for member in self.table.members(number):
                self._begin_with_nothing(member, system)
        return number

    def _begin_with_nothing(self, member: Member, system: StorePath) -> None:
        """Settle a host that needs no test: it boots the system already, or has no fallback.

        A host without a fallback gets the system as its first generation.
        """
        settled = self.deployments.settled(member.host)
        if settled == system:
            self.table.change(member, MemberStanding.DONE, reason="already boots it")
        elif settled is None and self.holds.get(member.host) is None:
            host = self.registry.require(member.host)
            self.deployments.deploy(host, system, self.url, lambda _text: None)
            self.table.change(member, MemberStanding.DONE, reason="got it as its first generation")

    def promised(self) -> list[StorePath]:
        """Return systems that hosts may still get, so that garbage collection keeps them."""
        return [StorePath(rollout.system) for rollout in self.table.active()]

    def offer(self, host: str, now: float) -> None:
        """Let a host whose machine asks for its script test the system, if it is the host's
        turn."""
        number = self.table.waiting_for(host)
        if number is None:
            return
        with self.deployments.systems.state.locks.rollouts():
            rollout = self.table.get(number)
            members = self.table.members(number)
            own = [
                each
                for each in members
                if each.host == host and each.standing is MemberStanding.WAITING
            ]
            if rollout is not None and own and self._free(rollout, members):
                self._try(rollout, own[0], now)

    def advance(self, now: float) -> None:
        """Decide the hosts that are testing, stop a rollout with too many failures, ask further
        hosts."""
        if not self.table.active():
            return
        with self.deployments.systems.state.locks.rollouts():
            for rollout in self.table.active():
                self._advance(rollout, now)

    def resume(self, now: float, down: float = 0.0) -> None:
        """Repair the records of a server that stopped after it had given a host the system.

        The `down` seconds without a server are not counted against any host.
        """
        with self.deployments.systems.state.locks.rollouts():
            for rollout in self.table.active():
                for member in self.table.members(rollout.id):
                    if member.standing is MemberStanding.TRYING and member.since is not None:
                        self.table.change(member, MemberStanding.TRYING, since=member.since + down)
                    test = self.deployments.probations.open(member.host)
                    if member.standing is not MemberStanding.WAITING or test is None:
                        continue
                    tried = self.deployments.profile(member.host).system(test.generation)
                    if tried is not None and tried.text == rollout.system:
                        self.table.change(
                            member, MemberStanding.TRYING, generation=test.generation, since=now
                        )

    def _advance(self, rollout: Rollout, now: float) -> None:
        for member in self.table.members(rollout.id):
            if member.standing is MemberStanding.TRYING:
                self._look(rollout, member, now)
        if rollout.standing is not RolloutStanding.RUNNING:
            return
        members = self.table.members(rollout.id)
        failed = [each for each in members if each.standing is MemberStanding.FAILED]
        if len(failed) >= rollout.max_failures:
            self._stop(rollout, f"{failed[-1].host}: {_first_line(failed[-1].reason)}")
        elif not any(each.standing.is_open for each in members):
            self.table.end(rollout.id, RolloutStanding.DONE)
            log.info("rollout.done", rollout=rollout.id, system=rollout.system)
        elif rollout.word is not None:
            self._ask(rollout, members, now)

    def _free(self, rollout: Rollout, members: list[Member]) -> int:
        return rollout.batch - sum(each.standing is MemberStanding.TRYING for each in members)

    def _ask(self, rollout: Rollout, members: list[Member], now: float) -> None:
        assert rollout.word is not None
        free = self._free(rollout, members)
        for member in members:
            boot = (
                self._running(member.host, now)
                if member.standing is MemberStanding.WAITING
                else None
            )
            if free < 1 or boot is None or member.asked == boot.id:
                continue
            if self._try(rollout, member, now, boot.id):
                self.orders.give(boot.id, rollout.word)
                free -= 1

    def _running(self, host: str, now: float) -> Boot | None:
        boot = self.boots.latest(host)
        return boot if boot is not None and is_speaking(boot, now, self.heartbeat) else None

    def _try(self, rollout: Rollout, member: Member, now: float, asked: str | None = None) -> bool:
        host = self.registry.get(member.host)
        if host is None:
            self.table.change(member, MemberStanding.LEFT, reason="the host was removed")
            return False
        if self.holds.get(host.name) is not None:
            return False
        if self.deployments.settled(host.name) == StorePath(rollout.system):
            self.table.change(member, MemberStanding.DONE, reason="already boots it")
            return False
        try:
            generation = self.tests.begin(
                host, StorePath(rollout.system), self.url, lambda _text: None,
                seconds=rollout.seconds, confirms=True,
            )  # fmt: skip
        except StorebootError as error:
            self.table.change(member, MemberStanding.FAILED, reason=error.message)
            return False
        faults.reach("rollout.given")
        changes = {"generation": generation, "since": now, "asked": asked}
        if not self.table.change(member, MemberStanding.TRYING, reason="", **changes):
            self.tests.take_back(host.name, generation)
            return False
        log.info("rollout.tries", rollout=rollout.id, host=host.name, asked=asked is not None)
        return True

    def _look(self, rollout: Rollout, member: Member, now: float) -> None:
        test = self.deployments.probations.of(member.host).get(member.generation or 0)
        match test.standing if test is not None else Standing.DROPPED:
            case Standing.CONFIRMED:
                self.table.change(member, MemberStanding.DONE)
            case Standing.FAILED:
                assert test is not None
                self.table.change(member, MemberStanding.FAILED, reason=test.reason)
            case Standing.DROPPED:
                self.table.change(member, MemberStanding.LEFT, reason=BETWEEN)
            case Standing.PENDING:
                self._wait(rollout, member, now - (member.since or now))
            case _:
                pass

    def _wait(self, rollout: Rollout, member: Member, waited: float) -> None:
        """Handle a host that has the system but has not begun to boot it."""
        if waited < (rollout.seconds if member.asked else OFFER_SECONDS):
            return
        boot = self.boots.get(member.asked) if member.asked else None
        if boot is not None and (boot.ended_at is not None or not self._spoke(boot, member)):
            late = f"did not begin to boot within {rollout.seconds:.0f} s"
            self._take_back(member, MemberStanding.FAILED, f"was asked to restart, and {late}")
        else:
            self._take_back(
                member, MemberStanding.WAITING, "did not shut down" if boot else "did not boot"
            )

    def _spoke(self, boot: Boot, member: Member) -> bool:
        """Return whether the machine was heard of since it was asked, and some time after that."""
        patience = SILENT_HEARTBEATS * self.heartbeat
        return boot.seen_at > (member.since or 0.0) + patience

    def _take_back(self, member: Member, standing: MemberStanding, reason: str) -> None:
        # A machine that has not received the order may be asked again.
        unheard = member.asked is not None and self.orders.revoke(member.asked)
        asked = None if unheard else member.asked
        if self.tests.take_back(member.host, member.generation or 0):
            self.table.change(member, standing, reason=reason, asked=asked)

    def refused(self, boot: str, reason: str) -> None:
        """Note that a machine refuses to restart: it gets the system when it next boots by
        itself."""
        if self.table.asked(boot) is None:
            return
        with self.deployments.systems.state.locks.rollouts():
            member = self.table.asked(boot)
            if member is not None:
                self._take_back(member, MemberStanding.WAITING, reason)

    def hold(self, host: str, reason: str, now: float) -> None:
        """Hold a host; drop a test that has not begun."""
        with self.deployments.systems.state.locks.rollouts():
            self.holds.hold(host, reason, now)
            self._free_of_rollouts(host, MemberStanding.WAITING, f"held: {reason}")
            test = self.deployments.probations.open(host)
            if test is not None:
                self.tests.take_back(host, test.generation)

    def release(self, host: str) -> bool:
        """Release a host; return whether it was held. It waits for its turn in rollouts again."""
        with self.deployments.systems.state.locks.rollouts():
            for rollout in self.table.active():
                for member in self.table.members(rollout.id):
                    if member.host == host and member.standing is MemberStanding.WAITING:
                        self.table.change(member, MemberStanding.WAITING, reason="")
            return self.holds.release(host)

    def take_over(self, host: str) -> None:
        """Let a command decide what the host boots: end its part in a rollout.

        Raises StorebootError if the host is held.
        """
        with self.deployments.systems.state.locks.rollouts():
            self.holds.refuse(host)
            self._free_of_rollouts(host, MemberStanding.LEFT, BETWEEN)

    def forget(self, host: str) -> None:
        """Remove a host from rollouts."""
        with self.deployments.systems.state.locks.rollouts():
            self._free_of_rollouts(host, MemberStanding.LEFT, "the host was removed")
            self.holds.release(host)

    def _free_of_rollouts(self, host: str, standing: MemberStanding, reason: str) -> None:
        for rollout in self.table.active():
            for member in self.table.members(rollout.id):
                if member.host == host and member.standing is MemberStanding.TRYING:
                    self._take_back(member, standing, reason)
        if standing is MemberStanding.LEFT:
            self.table.leave(host, reason)

    def stop(self, rollout: Rollout, reason: str) -> None:
        """Stop a rollout: no other host gets the system. Tests of boots that have begun still
        decide."""
        with self.deployments.systems.state.locks.rollouts():
            self._stop(rollout, reason)

    def _stop(self, rollout: Rollout, reason: str) -> None:
        self.table.end(rollout.id, RolloutStanding.STOPPED, reason)
        why = "the rollout was stopped"
        for member in self.table.members(rollout.id):
            if member.standing is MemberStanding.TRYING:
                self._take_back(member, MemberStanding.LEFT, why)
            elif member.standing is MemberStanding.WAITING:
                self.table.change(member, MemberStanding.LEFT, reason=why)
        log.warning("rollout.stopped", rollout=rollout.id, reason=reason)


def _first_line(text: str) -> str:
    return text.partition("\n")[0]
