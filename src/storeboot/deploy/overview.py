"""What is known of each host: how far its machine is, what it boots next, and what it runs."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from storeboot.boot.timeline import State, Step, last_boot, state, steps
from storeboot.deploy.damage import damages
from storeboot.deploy.inventory import Inventory
from storeboot.hosts.boot import Boot
from storeboot.hosts.host import Host
from storeboot.hosts.probations import Probation
from storeboot.nix.profiles import Generation


@dataclass(frozen=True, slots=True)
class HostOverview:
    """A host, or a guest host whose unknown machine has booted."""

    name: str
    state: State
    boot: Boot | None  # the latest one
    next: Generation | None
    runs: Generation | None  # None also if the generation is gone
    held: str | None  # the reason of the hold, or None
    damaged: tuple[str, ...]  # what is wrong with the host's own files

    @property
    def is_running(self) -> bool:
        """Return whether a boot of the host has begun and not ended."""
        return self.boot is not None and self.boot.ended_at is None


@dataclass(frozen=True, slots=True)
class GenerationOverview:
    """A generation of a host."""

    generation: Generation
    test: Probation | None
    runs: bool


@dataclass(frozen=True, slots=True)
class Overview:
    """All hosts, and all damage, including damage that belongs to no host."""

    hosts: tuple[HostOverview, ...]
    damages: tuple[str, ...]


def overview(inventory: Inventory) -> Overview:
    """Return what is known of every host. Blocking."""
    known, held = inventory.known(), inventory.holds.all()
    damaged = damages(inventory, known)
    reasons = {name: hold.reason for name, hold in held.items()}
    return Overview(
        tuple(
            _host(inventory, host, reasons.get(host.name), damaged.get(host.name, ()))
            for host in known
        ),
        tuple(sorted({words for some in damaged.values() for words in some})),
    )


def generations(inventory: Inventory, host: str) -> list[GenerationOverview]:
    """Return every generation of a host; raise StorebootError if there is no such host."""
    inventory.registry.require(host)
    made = inventory.deployments.generations(host)
    tests = inventory.deployments.probations.of(host)
    runs = _running(inventory, made, inventory.boots.latest(host))
    return [GenerationOverview(each, tests.get(each.number), each == runs) for each in made]


def timeline(inventory: Inventory, host: str) -> list[Step]:
    """Return the stages of a host's latest boot; raise StorebootError if there is no such host."""
    inventory.registry.require(host)
    boot = inventory.boots.latest(host)
    return steps(last_boot(inventory.boots.lately(host, boot.id if boot else None), boot))


def _host(
    inventory: Inventory, host: Host, held: str | None, damaged: Iterable[str]
) -> HostOverview:
    boot = inventory.boots.latest(host.name)
    events = last_boot(inventory.boots.lately(host.name, boot.id if boot else None), boot)
    made = inventory.deployments.generations(host.profile)
    return HostOverview(
        name=host.name,
        state=state(events),
        boot=boot,
        next=next((each for each in made if each.current), None),
        runs=_running(inventory, made, boot),
        held=held,
        damaged=tuple(damaged),
    )


def _running(
    inventory: Inventory, made: Iterable[Generation], boot: Boot | None
) -> Generation | None:
    """Return the generation that a boot runs, itself or as a specialisation, or None.

    If there are several, prefer the one that boots next.
    """
    if boot is None or boot.ended_at is not None:
        return None
    for each in sorted(made, key=lambda each: not each.current):
        if boot.view in inventory.systems.views(each.system):
            return each
    return None
