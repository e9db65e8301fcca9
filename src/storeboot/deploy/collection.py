"""Garbage collection that knows who is running what.

Kept are the views of every generation that stays and of every boot that holds its lease. What only
the others had is deleted by Nix, which knows every other root and refuses what is still alive.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from storeboot import faults
from storeboot.deploy.deployments import Deployments
from storeboot.deploy.state import StateDirectory
from storeboot.hosts.boots import Boot
from storeboot.initrd.builder import forget
from storeboot.nfs.views import view_id
from storeboot.nix.profiles import Generation
from storeboot.nix.store import Store, StorePath, registered_sizes


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
    candidates: Mapping[str, int]  # bytes of each store path that only dropped views have


@dataclass(frozen=True, slots=True)
class Outcome:
    """What a collection did."""

    freed: tuple[str, ...]
    bytes: int
    alive: tuple[str, ...]  # store paths that other roots hold


def plan_collection(
    deployments: Deployments, hosts: Iterable[str], leases: Iterable[Boot], keep: int
) -> Plan:
    """`keep` generations of each host besides the current one; hosts that are gone keep none."""
    state = deployments.systems.state
    known = set(hosts)
    removals: list[Removal] = []
    generation_views: set[str] = set()
    for host in state.profiled():
        made = deployments.generations(host)
        fixed = deployments.needed(host) if host in known else set()
        others = [each for each in made if each.number not in fixed]
        going = others[: max(0, len(others) - keep)] if host in known else others
        removals += (Removal(host, each) for each in going)
        staying = (each for each in made if each not in going)
        generation_views |= {view_id([each.system.text]).hex() for each in staying}
    held = tuple(boot for boot in leases if boot.view not in generation_views)
    needed = generation_views | {boot.view for boot in held}
    dropped = tuple(view for view in state.views() if view not in needed)
    kept = _paths(state, needed)
    candidates = {path: size for path, size in _paths(state, dropped).items() if path not in kept}
    return Plan(tuple(removals), dropped, held, candidates)


def carry_out(deployments: Deployments, plan: Plan) -> None:
    """Take generations, roots and initrds away; the lock is held alone since the plan was made."""
    state = deployments.systems.state
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


def delete_paths(store: Store, candidates: Mapping[str, int]) -> Outcome:
    """Those of them that Nix takes for dead."""
    there = {path for path in candidates if store.physical(StorePath(path)).exists()}
    dead = there & store.dead() if there else set()
    if dead:
        store.delete(sorted(dead))
    freed = sum(candidates[path] for path in dead)
    return Outcome(tuple(sorted(dead)), freed, tuple(sorted(there - dead)))


def _paths(state: StateDirectory, views: Iterable[str]) -> dict[str, int]:
    paths: dict[str, int] = {}
    for view in views:
        record = state.view(view)
        if record is not None:
            paths |= registered_sizes(record.registration)
    return paths
