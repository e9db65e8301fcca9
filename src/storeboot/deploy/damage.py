"""Names what is damaged in the state directory and cannot be rebuilt, and whose it is."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable

from storeboot.deploy.inventory import Inventory
from storeboot.hosts.host import Host


def damages(inventory: Inventory, hosts: Iterable[Host]) -> dict[str | None, list[str]]:
    """Return what is wrong, as text, by host; under None what belongs to no known host.

    A damaged view belongs to every host that can boot it, or that runs it.
    """
    known = list(hosts)
    found: dict[str | None, list[str]] = defaultdict(list)
    for name in {*inventory.state.profiles.hosts(), *(host.profile for host in known)}:
        owner = name if any(host.name == name for host in known) else None
        found[owner] += inventory.deployments.profile(name).damages()
    views = inventory.state.views.damages()
    owners = _owners(inventory, known) if views else {}
    for view, words in views.items():
        for owner in owners.get(view, {None}):
            found[owner].append(words)
    for host in known:
        key = inventory.state.host_key(host.name)
        if key.exists() and not is_private_key(key.read_bytes()):
            found[host.name].append(f"{key} is damaged")
    return {owner: sorted(words) for owner, words in found.items() if words}


def is_private_key(data: bytes) -> bool:
    """Return whether this is a complete ssh key, from its first line to its last."""
    return data.startswith(b"-----BEGIN ") and data.rstrip().endswith(b"PRIVATE KEY-----")


def _owners(inventory: Inventory, hosts: Iterable[Host]) -> dict[str, set[str | None]]:
    """Return the hosts that each view belongs to."""
    owners: dict[str, set[str | None]] = defaultdict(set)
    for host in hosts:
        for generation in inventory.deployments.profile(host.profile).generations():
            for view in inventory.systems.views(generation.system):
                owners[view].add(host.name)
        boot = inventory.boots.latest(host.name)
        if boot is not None and boot.ended_at is None:
            owners[boot.view].add(host.name)
    return owners
