"""Finds what a machine may mount by the alias, without a token."""

from __future__ import annotations

from storeboot.deploy.inventory import Inventory
from storeboot.nfs.views import view_id


def alias_of(inventory: Inventory, address: str) -> bytes | None:
    """Return the view that a machine with this address mounts by the alias' name.

    Also before systems are assigned, for a machine that comes back while the server starts. It is
    called for each connection, and so asks memory and a few symlinks, never the database.
    """
    if not inventory.config.nfs.alias:
        return None
    host = inventory.registry.at(address)
    if host is None:
        return None
    system = inventory.deployments.remembered(host.name) or host.system
    return view_id([system.text]) if system is not None else None
