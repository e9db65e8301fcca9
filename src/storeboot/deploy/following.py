"""Watches a rollout until it ends."""

from __future__ import annotations

import time
from collections.abc import Callable

from storeboot.deploy.inventory import Inventory
from storeboot.errors import StorebootError
from storeboot.hosts import words
from storeboot.hosts.rollouts import Member, MemberStanding, Rollout, RolloutStanding

POLL_SECONDS = 1.0
SERVER_SECONDS = 900.0  # a running server renews its mark more often
_LONGEST = 4096  # characters of a machine's message


def follow(inventory: Inventory, number: int, progress: Callable[[str], None]) -> None:
    """Report what happens to each host until the rollout is done. Blocking.

    Raises StorebootError when the rollout is stopped, or if no server carries it on.
    """
    told: dict[str, str] = {}
    _require_server(inventory, time.time())
    while True:
        found = require(inventory, number)
        for member in inventory.rollouts.table.members(number):
            said = _said(member)
            if told.get(member.host, str(MemberStanding.WAITING)) != said:
                progress(f"{member.host}: {said}")
            told[member.host] = said
        if found.standing is RolloutStanding.STOPPED:
            raise StorebootError(
                f"rollout {number} was stopped: {words.line(found.reason, _LONGEST)}",
                f"see storeboot rollout show {number}",
            )
        if found.standing is RolloutStanding.DONE:
            return
        time.sleep(POLL_SECONDS)


def require(inventory: Inventory, number: int) -> Rollout:
    """Return a rollout; raise StorebootError if there is none with that number."""
    found = inventory.rollouts.table.get(number)
    if found is None:
        raise StorebootError(f"no rollout {number}", "see storeboot rollout list")
    return found


def stop(inventory: Inventory, number: int) -> None:
    """Stop a rollout by hand; raise StorebootError if it is not running."""
    found = require(inventory, number)
    if found.standing is not RolloutStanding.RUNNING:
        raise StorebootError(f"rollout {number} is {found.standing}", "there is nothing to stop")
    inventory.rollouts.stop(found, "by hand")


def _said(member: Member) -> str:
    reason = member.reason.partition("\n")[0]
    return words.line(f"{member.standing} {reason}".strip(), _LONGEST)


def _require_server(inventory: Inventory, now: float) -> None:
    until = inventory.state.serving.until()
    if until is None or until < now - SERVER_SECONDS:
        raise StorebootError(
            "no server is running to carry the rollout on",
            "start storeboot serve; the rollout waits for it",
        )
