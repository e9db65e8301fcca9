"""What is known of each host: how far its machine is, what it boots next, and what it runs."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace

from storeboot.boot.state import Evidence, Listening, MachineState, derive, latest_of
from storeboot.boot.timeline import Step, last_boot, steps
from storeboot.deploy.damage import damages
from storeboot.deploy.inventory import Inventory
from storeboot.hosts.boot import Boot
from storeboot.hosts.host import Host
from storeboot.hosts.probations import Probation
from storeboot.hosts.refusals import Refusal
from storeboot.nix.profiles import Generation


@dataclass(frozen=True, slots=True)
class Live:
    """What only a running server knows. Times in seconds since 1970."""

    now: float
    since: float  # when the server started
    heard: Mapping[str, float] = field(default_factory=dict)  # by boot, when it has spoken last
    refusals: tuple[Refusal, ...] = ()  # the last ones, the latest first


@dataclass(frozen=True, slots=True)
class HostOverview:
    """A host, or a guest host whose unknown machine has booted."""

    name: str
    state: MachineState
    boot: Boot | None  # the latest one
    next: Generation | None
    runs: Generation | None  # None also if the generation is gone
    held: str | None  # the reason of the hold, or None
    damaged: tuple[str, ...]  # what is wrong with the host's own files

    @property
    def is_running(self) -> bool:
        """Return whether the host's machine runs the system of its latest boot."""
        return self.boot is not None and self.state.is_running


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


def overview(inventory: Inventory, live: Live | None = None) -> Overview:
    """Return what is known of every host. Blocking.

    `live` is None if no server answers. Then the states are those of when one was last up.
    """
    known, held = inventory.known(), inventory.holds.all()
    damaged = damages(inventory, known)
    reasons = {name: hold.reason for name, hold in held.items()}
    return Overview(
        tuple(
            _host(inventory, host, live, reasons.get(host.name), damaged.get(host.name, ()))
            for host in known
        ),
        tuple(sorted({words for some in damaged.values() for words in some})),
    )


def machine(
    inventory: Inventory, host: str, boot: Boot | None, live: Live | None = None
) -> MachineState:
    """Return what the machine of a host is doing; `boot` is its latest one. Blocking."""
    if boot is not None and live is not None:
        # What is recorded counts an open NFS connection as a sign of life, for the boot lease. Such
        # a connection outlives a machine that has lost its power by minutes.
        boot = replace(boot, seen_at=live.heard.get(boot.id, boot.seen_at))
    events = last_boot(inventory.boots.lately(host, boot.id if boot else None), boot)
    refusal = latest_of(live.refusals, host) if live is not None else None
    evidence = Evidence(tuple(events), boot, refusal)
    return derive(evidence, _listening(inventory, evidence, live))


def _listening(inventory: Inventory, evidence: Evidence, live: Live | None) -> Listening:
    """Return when a server has listened.

    Without one, time stands still at the last thing that was heard of the machine or the server: a
    machine is not silent because nobody listens.
    """
    heartbeat = float(inventory.config.agent.heartbeat)
    if live is not None:
        return Listening(live.now, heartbeat, live.since)
    marks = [inventory.state.serving.until() or 0.0, *(each.at for each in evidence.events)]
    if evidence.boot is not None:
        marks.append(evidence.boot.seen_at)
    return Listening(max(marks), heartbeat)


def generations(
    inventory: Inventory, host: str, live: Live | None = None
) -> list[GenerationOverview]:
    """Return every generation of a host; raise StorebootError if there is no such host."""
    inventory.registry.require(host)
    made = inventory.deployments.generations(host)
    tests = inventory.deployments.probations.of(host)
    boot = inventory.boots.latest(host)
    runs = _running(inventory, made, boot, machine(inventory, host, boot, live))
    return [GenerationOverview(each, tests.get(each.number), each == runs) for each in made]


def timeline(inventory: Inventory, host: str) -> list[Step]:
    """Return the stages of a host's latest boot; raise StorebootError if there is no such host."""
    inventory.registry.require(host)
    boot = inventory.boots.latest(host)
    return steps(last_boot(inventory.boots.lately(host, boot.id if boot else None), boot))


def _host(
    inventory: Inventory,
    host: Host,
    live: Live | None,
    held: str | None,
    damaged: Iterable[str],
) -> HostOverview:
    boot = inventory.boots.latest(host.name)
    made = inventory.deployments.generations(host.profile)
    state = machine(inventory, host.name, boot, live)
    return HostOverview(
        name=host.name,
        state=state,
        boot=boot,
        next=next((each for each in made if each.current), None),
        runs=_running(inventory, made, boot, state),
        held=held,
        damaged=tuple(damaged),
    )


def _running(
    inventory: Inventory, made: Iterable[Generation], boot: Boot | None, state: MachineState
) -> Generation | None:
    """Return the generation that a boot runs, itself or as a specialisation, or None.

    If there are several, prefer the one that boots next.
    """
    if boot is None or not state.is_running:
        return None
    for each in sorted(made, key=lambda each: not each.current):
        if boot.view in inventory.systems.views(each.system):
            return each
    return None
