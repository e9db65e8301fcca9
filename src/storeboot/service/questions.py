"""Short questions about one boot, answered from disk and database. Blocking."""

from __future__ import annotations

from storeboot.deploy.host_keys import host_key
from storeboot.deploy.inventory import Inventory
from storeboot.hosts.boot import Boot
from storeboot.hosts.database import DatabaseAwayError
from storeboot.hosts.host import Host
from storeboot.protocol.fields import AnswerField


def key_of(inventory: Inventory, name: str) -> str | None:
    """Return a host's private ssh key, or None if none is kept for it.

    The key is created when it is first asked for.
    """
    host = inventory.registry.get(name)
    if host is None or not host.ssh_host_key:
        return None
    return host_key(inventory.state.host_key(host.name), host.name)


def pack_of(inventory: Inventory, boot: Boot, host: Host) -> dict[str, str]:
    """Return what the boot is told about its view's pack; empty if there is none."""
    pack = inventory.systems.packs.get(boot.view) if host.mode == "pack" else None
    if pack is None:
        return {}
    return {
        AnswerField.PACK: pack.path.name,
        AnswerField.PACK_SHA256: pack.sha256,
        AnswerField.LEARN_SECONDS: str(inventory.config.packs.learn_seconds),
    }


def order_of(inventory: Inventory, boot: str) -> str:
    """Remove the order that waits for the boot's agent, and return it; "" if there is none.

    An order that cannot be removed is not given, or it would be given again and again.
    """
    try:
        return inventory.orders.take(boot)
    except DatabaseAwayError:
        return ""
