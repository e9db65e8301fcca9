"""Finds what a machine may mount by the alias, without a token."""

from __future__ import annotations

from storeboot.deploy.inventory import Inventory
from storeboot.nfs.refusal import Refusal
from storeboot.nfs.views import view_id


def alias_of(inventory: Inventory, address: str) -> bytes | Refusal:
    """Return the view that a machine with this address may mount through the alias, or why none.

    This also works before systems are assigned, for a machine that reconnects while the server
    starts. It is called for each connection, so it looks only in memory and at a few symlinks, and
    never in the database.
    """
    if not inventory.config.nfs.alias:
        return Refusal.NO_ALIAS
    host = inventory.registry.at(address)
    if host is None:
        return Refusal.NO_HOST
    system = inventory.deployments.remembered(host.name) or host.system
    return view_id([system.text]) if system is not None else Refusal.NO_SYSTEM
