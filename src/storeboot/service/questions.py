"""Short questions to disk and database about one boot. Blocking."""

from __future__ import annotations

from storeboot.deploy.host_keys import host_key
from storeboot.deploy.inventory import Inventory
from storeboot.hosts.boot import Boot
from storeboot.hosts.database import DatabaseAwayError
from storeboot.hosts.host import Host


def key_of(inventory: Inventory, name: str) -> str | None:
    """A host's private ssh key, made if it is asked for first; None where none is kept."""
    host = inventory.registry.get(name)
    if host is None or not host.ssh_host_key:
        return None
    return host_key(inventory.state.host_key(host.name), host.name)


def pack_of(inventory: Inventory, boot: Boot, host: Host) -> dict[str, str]:
    """What the boot is answered of its view's pack; nothing without one."""
    pack = inventory.systems.packs.get(boot.view) if host.mode == "pack" else None
    if pack is None:
        return {}
    return {
        "pack": pack.path.name,
        "pack_sha256": pack.sha256,
        "learn_seconds": str(inventory.config.packs.learn_seconds),
    }


def order_of(inventory: Inventory, boot: str) -> str:
    """What the boot's agent is asked to do, one word, struck off then; "" for nothing.

    An order that cannot be struck off is not given: it would be given again and again.
    """
    try:
        return inventory.orders.take(boot)
    except DatabaseAwayError:
        return ""
