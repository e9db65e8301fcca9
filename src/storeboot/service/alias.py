"""Finds what a machine may mount by the alias, without a token."""

from __future__ import annotations

import structlog

from storeboot.deploy.given import Given
from storeboot.deploy.inventory import Inventory
from storeboot.errors import StorebootError
from storeboot.hosts.host import Host
from storeboot.nfs.refusal import Refusal
from storeboot.nfs.views import view_id
from storeboot.nix.store import StorePath
from storeboot.service.current import Current
from storeboot.service.work import ASK_SECONDS, Work

log = structlog.get_logger()


def alias_of(inventory: Inventory, address: str, now: float = 0.0) -> bytes | Refusal:
    """Return the view that a machine with this address may mount through the alias, or why none.

    It is the view whose script or initrd the host was given last, because that is the system which
    the machine boots. A host that was given nothing, because its machine gets kernel and initrd
    from elsewhere, has the view of what it boots next.

    `now` is in seconds since 1970; without it a script that was asked for long ago counts as well,
    whoever has asked.

    This also works before systems are assigned, for a machine that reconnects while the server
    starts. It is called for each connection, so it looks only in memory, at a few symlinks and at
    one small file, and never in the database.
    """
    if not inventory.config.nfs.alias:
        return Refusal.NO_ALIAS
    host = inventory.registry.at(address)
    if host is None:
        return Refusal.NO_HOST
    given = inventory.state.given.of(host.name)
    is_kept = inventory.state.views.is_rooted
    if given is not None and given.holds(now) and is_kept(given.view):
        return bytes.fromhex(given.view)
    system = inventory.deployments.remembered(host.name) or host.system
    if system is None:
        return Refusal.NO_SYSTEM
    return view_id([_booted(inventory, host, system).text])


def _booted(inventory: Inventory, host: Host, system: StorePath) -> StorePath:
    """Return the host's specialisation of a system, or the system itself if that cannot be told."""
    try:
        return inventory.systems.booted(host, system)
    except (StorebootError, OSError):
        return system


class Alias:
    """Remembers what hosts are given, for their mounts."""

    def __init__(self, current: Current, work: Work) -> None:
        self._current = current
        self._work = work

    async def gives(
        self, host: Host, view: str, address: str, now: float, *, is_fetched: bool = False
    ) -> None:
        """Note that a host is given a script, or with `is_fetched` the initrd itself, of a view.

        That it cannot be noted stops no boot.
        """
        inventory = self._current.inventory
        if host.like is not None or not host.addresses or not inventory.config.nfs.alias:
            return
        is_own = address.removeprefix("::ffff:") in host.addresses
        given = Given(view, now, is_own, is_fetched)
        try:
            await self._work.boots.run(ASK_SECONDS, inventory.state.given.note, host.name, given)
        except TimeoutError:
            log.error("alias.not_kept", host=host.name, view=view, reason="the disk hangs")
