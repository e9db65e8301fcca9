"""Checks that a machine may begin a boot, and takes a lease on its view. Blocking."""

from __future__ import annotations

import secrets
from collections.abc import Callable
from concurrent.futures import Future
from contextlib import ExitStack

from storeboot.deploy.inventory import Inventory
from storeboot.errors import StorebootError
from storeboot.hosts.boot import Boot
from storeboot.hosts.database import DatabaseAwayError
from storeboot.hosts.host import Host
from storeboot.service.asked import Beginning
from storeboot.service.choosing import is_view
from storeboot.service.current import Current
from storeboot.service.known_boots import KnownBoots
from storeboot.service.proofs import is_host
from storeboot.service.refusals import BusyError, RefusedError
from storeboot.service.rivals import Rivals

MAX_GUEST_BOOTS = 5000  # remembered of unknown machines, for each host that they boot like
LOCK_SECONDS = 4.0  # that a boot waits for a garbage collection


class Leasing:
    """Takes leases on views: a boot holds its view from its beginning on."""

    def __init__(self, current: Current, boots: KnownBoots) -> None:
        self._current = current
        self._boots = boots
        self._rivals = Rivals(boots.latest)

    def begin(
        self, asked: Beginning, clock: Callable[[], float]
    ) -> tuple[Boot, Host, Future[bool] | None]:
        """Begin a boot with a lease on its view.

        Returns the boot, its host, and a future that tells whether the boot was recorded, or None
        if it was recorded before. Raises RefusedError with the reason, or BusyError if the machine
        may ask again.
        """
        inventory, view = self._current.inventory, asked.view
        host = inventory.registry.get(asked.host)
        if host is None or not is_host(host, asked.machine, asked.ticket, inventory.systems.key):
            raise RefusedError(f"this machine is not host {asked.host}")
        now = clock()
        rival = self._rivals.of(host, asked.machine, inventory.config.agent.heartbeat, now)
        if rival is not None and rival.runs:
            raise RefusedError(f"{rival}; {rival.cure}")
        if host.like is not None and _guest_boots(inventory, host.like, now) >= MAX_GUEST_BOOTS:
            raise RefusedError(f"too many machines have booted like {host.like}")
        system = inventory.systems.of_view(view) if is_view(view) else None
        if system is None or not inventory.deployments.has_view(host.profile, view):
            reason = f"host {asked.host} has no generation with view {view}"
            raise RefusedError(reason, "" if host.like else host.name)
        machine = asked.machine
        boot = Boot(
            id=secrets.token_hex(8),
            host=host.name,
            view=view,
            system=system.text,
            nonce=asked.nonce,
            machine=f"{machine.mac} {machine.uuid} {machine.serial}",
            address=asked.address,
            began_at=now,
            seen_at=now,
        )
        # No root may be removed between the check of the view's root and the lease.
        with ExitStack() as stack:
            _hold_roots(inventory, stack, host, view)
            if not inventory.state.views.is_rooted(view):
                reason = f"view {view} is no longer kept; boot again"
                raise RefusedError(reason, "" if host.like else host.name)
            begun, told = self._boots.begin(boot)
        return begun, host, told


def _guest_boots(inventory: Inventory, like: str, now: float) -> int:
    try:
        return inventory.boots.count_like(like, now)
    except DatabaseAwayError:
        return 0


def _hold_roots(inventory: Inventory, stack: ExitStack, host: Host, view: str) -> None:
    """Keep the view's root from being removed until the stack is closed.

    A garbage collection that is under way keeps what the host boots anyway, and that cannot change
    before the collection has ended. So such a boot does not wait for the lock, and neither does a
    room full of machines.
    """
    state = inventory.state
    try:
        stack.enter_context(state.locks.roots(seconds=0.0))
    except StorebootError:
        if _is_kept(inventory, host, view):
            return
        try:
            stack.enter_context(state.locks.roots(seconds=LOCK_SECONDS))
        except StorebootError as error:
            raise BusyError(error.message) from None


def _is_kept(inventory: Inventory, host: Host, view: str) -> bool:
    """Return whether every garbage collection keeps the view, because the host boots it anyway."""
    deployments = inventory.deployments
    numbers = deployments.needed(host.profile)
    kept = (deployments.profile(host.profile).system(number) for number in numbers)
    return any(view in inventory.systems.views(each) for each in kept if each is not None)
