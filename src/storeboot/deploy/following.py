"""Watches a rollout until it ends, and says why it does not move."""

from __future__ import annotations

import time
from collections.abc import Callable, Collection, Iterable, Mapping
from dataclasses import dataclass, field

from storeboot.boot.state import is_speaking
from storeboot.boot.times import duration
from storeboot.deploy.inventory import Inventory
from storeboot.errors import StorebootError
from storeboot.hosts import words
from storeboot.hosts.boot import Boot
from storeboot.hosts.rollouts import Member, MemberStanding, Rollout, RolloutStanding

POLL_SECONDS = 1.0
RESTART_SECONDS = 30.0  # a server that is restarted is back by then
STILL_SECONDS = 30.0  # between two lines about a rollout in which nothing happens
MAX_NAMES = 5  # of hosts, in one such line and for one reason
_LONGEST = 4096  # characters of a machine's message
Progress = Callable[[str], None]


@dataclass(frozen=True, slots=True)
class Waiting:
    """A host whose turn has not come, with all that its turn depends on."""

    member: Member
    held: str | None  # the reason of the hold, or None
    boot: Boot | None  # the latest one


def follow(
    inventory: Inventory, number: int, progress: Progress, *, server_needed: bool = True
) -> None:
    """Report what happens to each host until the rollout is done. Blocking.

    Raises StorebootError when the rollout is stopped, when it has given its system to no host, or
    if no server carries it on and one is needed.
    """
    watch = _Watch(inventory, number, progress, server_needed)
    while not watch.look(time.time()):
        time.sleep(POLL_SECONDS)


def require_server(inventory: Inventory, consequence: str = "nothing was done") -> None:
    """Raise StorebootError if no server runs, which carries rollouts and tests out.

    `consequence` says what that means for what was asked.
    """
    if not inventory.state.serving.is_held():
        raise StorebootError(
            f"no server is running: {consequence}",
            "start storeboot serve, or give --wait-for-server",
        )


@dataclass(slots=True)
class _Watch:
    """What was said of a rollout so far."""

    inventory: Inventory
    number: int
    progress: Progress
    server_needed: bool
    told: dict[str, str] = field(default_factory=dict)
    news_at: float = field(default_factory=time.time)  # when something was said last
    served_at: float = float("-inf")  # when a server was seen last

    def look(self, now: float) -> bool:
        """Say what is new; return whether the rollout is done."""
        found = require(self.inventory, self.number)
        members = self.inventory.rollouts.table.members(self.number)
        self._tell(members, now)
        if found.standing is RolloutStanding.STOPPED:
            raise StorebootError(
                f"rollout {self.number} was stopped: {words.line(found.reason, _LONGEST)}",
                f"see storeboot rollout show {self.number}",
            )
        if found.standing is RolloutStanding.DONE:
            require_given(found, members)
            return True
        serves = self._look_for_server(now)
        if now >= self.news_at + STILL_SECONDS:
            self.news_at = now
            why = self._why(found, members, now) if serves else "no server is running"
            self.progress(f"rollout {self.number} waits: {why}")
        return False

    def _tell(self, members: Iterable[Member], now: float) -> None:
        for member in members:
            said = _said(member)
            if self.told.get(member.host, str(MemberStanding.WAITING)) != said:
                self.progress(f"{member.host}: {said}")
                self.news_at = now
            self.told[member.host] = said

    def _look_for_server(self, now: float) -> bool:
        """Return whether a server runs; raise StorebootError if one is needed and stays away."""
        if self.inventory.state.serving.is_held():
            self.served_at = now
        elif self.server_needed and now >= self.served_at + RESTART_SECONDS:
            require_server(self.inventory, f"rollout {self.number} waits for it")
        return self.served_at == now

    def _why(self, found: Rollout, members: Iterable[Member], now: float) -> str:
        held, boots = self.inventory.holds.all(), self.inventory.boots
        waiting = [
            Waiting(each, held[each.host].reason if each.host in held else None,
                    boots.latest(each.host))
            for each in members
            if each.standing.is_open
        ]  # fmt: skip
        return why_still(found, waiting, now, float(self.inventory.config.agent.heartbeat))


def why_still(rollout: Rollout, hosts: Iterable[Waiting], now: float, heartbeat: float) -> str:
    """Return, on one line, which hosts a running rollout waits for, and why.

    `heartbeat` is in seconds.
    """
    open_ones = list(hosts)
    trying = sum(each.member.standing is MemberStanding.TRYING for each in open_ones)
    is_full = trying >= rollout.batch
    reasons: dict[str, list[str]] = {}
    for each in open_ones:
        reason = _reason(rollout, each, now, heartbeat, is_full=is_full)
        reasons.setdefault(reason, []).append(each.member.host)
    return "; ".join(f"{_names(of)}: {reason}" for reason, of in reasons.items())


def _reason(rollout: Rollout, host: Waiting, now: float, heartbeat: float, *, is_full: bool) -> str:
    member, boot = host.member, host.boot
    if member.standing is MemberStanding.TRYING:
        since = f" {duration(now - member.since)} ago" if member.since is not None else ""
        return f"got the system{since}, not up with it yet"
    if host.held is not None:
        return f"held ({words.line(host.held, _LONGEST)})"
    if boot is None:
        return "due at the next boot; never seen"
    if not is_speaking(boot, now, heartbeat):
        return f"due at the next boot; last seen {_ago(boot, now)} ago"
    if rollout.word is None:
        return "due at the next boot; running"
    if member.asked == boot.id:
        return f"due at the next boot; {words.line(member.reason, _LONGEST) or 'did not restart'}"
    return f"to be asked after others ({rollout.batch} at a time)" if is_full else "to be asked"


def _ago(boot: Boot, now: float) -> str:
    return duration(max(0.0, now - boot.seen_at))


def _names(hosts: list[str]) -> str:
    more = len(hosts) - MAX_NAMES
    return ", ".join(hosts[:MAX_NAMES]) + (f" and {more} more" if more > 0 else "")


def require(inventory: Inventory, number: int) -> Rollout:
    """Return a rollout; raise StorebootError if there is none with that number."""
    found = inventory.rollouts.table.get(number)
    if found is None:
        raise StorebootError(f"no rollout {number}", "see storeboot rollout list")
    return found


def require_given(rollout: Rollout, members: Collection[Member]) -> None:
    """Raise StorebootError if a rollout that is done has given its system to no host."""
    left = {each.host: each.reason for each in members if each.standing is not MemberStanding.DONE}
    if len(left) == len(members):
        raise StorebootError(
            f"rollout {rollout.id} has given the system to no host: {_listed(left)}",
            f"see storeboot rollout show {rollout.id}",
        )


def _listed(reasons: Mapping[str, str]) -> str:
    first = [f"{host}: {words.line(why, _LONGEST)}" for host, why in reasons.items()][:MAX_NAMES]
    more = len(reasons) - len(first)
    return "; ".join(first) + (f" and {more} more" if more > 0 else "")


def stop(inventory: Inventory, number: int) -> None:
    """Stop a rollout by hand; raise StorebootError if it is not running."""
    found = require(inventory, number)
    if found.standing is not RolloutStanding.RUNNING:
        raise StorebootError(f"rollout {number} is {found.standing}", "there is nothing to stop")
    inventory.rollouts.stop(found, "by hand")


def _said(member: Member) -> str:
    reason = member.reason.partition("\n")[0]
    return words.line(f"{member.standing} {reason}".strip(), _LONGEST)
