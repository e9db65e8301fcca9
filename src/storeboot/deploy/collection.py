"""Garbage collection that knows who is running what.

Kept are the views of every generation that stays and of every boot that holds its lease. What only
the others had is deleted by Nix, which knows every other root and refuses what is still alive.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

import structlog

from storeboot import faults
from storeboot.deploy.deployments import Deployments
from storeboot.deploy.state import StateDirectory
from storeboot.errors import CommandError
from storeboot.hosts.boots import Boot
from storeboot.hosts.host import Host
from storeboot.initrd.builder import forget
from storeboot.nfs.views import view_id
from storeboot.nix.profiles import Generation
from storeboot.nix.store import (
    Registered,
    Store,
    StorePath,
    batches,
    parse_registration,
    referrers_first,
)
from storeboot.pack.builder import forget as forget_packs

log = structlog.get_logger()

KEPT_HOT_LISTS = 8  # of views that are gone


@dataclass(frozen=True, slots=True)
class Removal:
    """A generation that goes."""

    host: str
    generation: Generation


@dataclass(frozen=True, slots=True)
class Plan:
    """What a collection would do."""

    removals: tuple[Removal, ...]
    dropped: tuple[str, ...]  # ids of views that nobody needs any more
    held: tuple[Boot, ...]  # boots that alone hold a view
    candidates: Mapping[str, Registered]  # store paths that only dropped views have

    @property
    def bytes(self) -> int:
        return sum(each.size for each in self.candidates.values())


@dataclass(frozen=True, slots=True)
class Outcome:
    """What a collection did."""

    freed: tuple[str, ...]
    bytes: int
    alive: tuple[str, ...]  # store paths that something else holds


def plan_collection(
    deployments: Deployments,
    hosts: Iterable[Host],
    leases: Iterable[Boot],
    keep: int,
    promised: Iterable[StorePath] = (),
) -> Plan:
    """`keep` generations of each host besides the current one; hosts that are gone keep none.

    What the configuration declares is kept, deployed or not yet, and what is promised. So is all
    that a host has had whose machine mounts by nfs.alias: it begins no boots, and nobody knows what
    it runs.
    """
    state = deployments.systems.state
    known = {host.name: host for host in hosts}
    alias = deployments.systems.config.nfs.alias
    aliased = {host.name for host in known.values() if alias and host.addresses}
    removals: list[Removal] = []
    declared = (host.system for host in known.values() if host.system is not None)
    generation_views: set[str] = set()
    for system in (*declared, *promised):
        generation_views |= deployments.systems.views(system)
    for host in state.profiled():
        made = deployments.generations(host)
        fixed = deployments.needed(host) if host in known else set()
        others = [each for each in made if each.number not in fixed]
        going = others[: max(0, len(others) - keep)] if host in known else others
        going = [] if host in aliased else going
        removals += (Removal(host, each) for each in going)
        staying = (each for each in made if each not in going)
        for each in staying:
            generation_views |= deployments.systems.views(each.system)
    held = tuple(boot for boot in leases if boot.view not in generation_views)
    needed = generation_views | {boot.view for boot in held}
    dropped = tuple(view for view in state.views() if view not in needed)
    kept = _paths(state, needed)
    given_up = _paths(state, dropped) | state.garbage()
    candidates = {path: each for path, each in given_up.items() if path not in kept}
    return Plan(tuple(removals), dropped, held, candidates)


def carry_out(deployments: Deployments, plan: Plan) -> None:
    """Take generations, roots and initrds away; the lock is held alone since the plan was made."""
    state = deployments.systems.state
    state.set_garbage(plan.candidates)
    by_host: dict[str, list[Generation]] = {}
    for removal in plan.removals:
        by_host.setdefault(removal.host, []).append(removal.generation)
    for host, generations in by_host.items():
        profile = deployments.profile(host)
        numbers = [generation.number for generation in generations]
        if profile.current_number() in (None, *numbers):
            profile.forget()  # the host is gone
        else:
            profile.delete(numbers)
        deployments.probations.forget(host, numbers)
    faults.reach("gc.generations")
    for view in plan.dropped:
        state.drop_view(view)
    faults.reach("gc.views")
    forget(state.initrds, lambda system: state.is_rooted(view_id([system]).hex()))
    forget_packs(state.packs, state.is_rooted)
    state.forget_hot(state.is_rooted, KEPT_HOT_LISTS)


def delete_paths(
    state: StateDirectory, store: Store, candidates: Mapping[str, Registered]
) -> Outcome:
    """Those of them that Nix takes for dead, and that no other garbage refers to."""
    there = _there(store, candidates)
    dead = there & store.dead() if there else set()
    dead -= store.invalid(dead)
    dead -= store.held_by_others(dead)
    freed: list[str] = []
    for some in batches(referrers_first({path: candidates[path] for path in dead})):
        try:
            store.delete(some)
        except CommandError as error:  # somebody holds one of them since
            log.warning("gc.refused", reason=error.message)
        else:
            freed += some
    alive = _there(store, there - set(freed))  # Nix's own collection may have been faster
    # Dead ones that other garbage refers to can go next time.
    state.set_garbage({path: candidates[path] for path in alive})
    return Outcome(
        tuple(sorted(freed)), sum(candidates[p].size for p in freed), tuple(sorted(alive))
    )


def _there(store: Store, paths: Iterable[str]) -> set[str]:
    return {path for path in paths if os.path.lexists(store.physical(StorePath(path)))}


def _paths(state: StateDirectory, views: Iterable[str]) -> dict[str, Registered]:
    paths: dict[str, Registered] = {}
    for view in views:
        record = state.view(view)
        if record is not None:
            paths |= parse_registration(record.registration)
    return paths
