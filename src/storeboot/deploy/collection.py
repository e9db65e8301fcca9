"""Garbage collection that knows who is running what.

Kept are the views of every generation that stays and of every boot that holds its lease. What only
the others had is deleted by Nix, which knows every other root and refuses what is still alive.

Boots that begin wait while it is decided which views go. So that is done twice: at leisure first,
when store paths are listed and generations deleted, and then once more with the lock held alone, by
links and rows only. No Nix runs under that lock, and nothing is synced.

What cannot be read is kept. A profile or a view that is damaged may need anything, so as long as
one is, no view is dropped, or no path deleted.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, replace

import structlog

from storeboot import faults
from storeboot.deploy.deployments import Deployments
from storeboot.deploy.inventory import Inventory
from storeboot.deploy.state import StateDirectory
from storeboot.deploy.systems import Systems
from storeboot.errors import CommandError, StorebootError
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
    is_gone: bool  # the host


@dataclass(frozen=True, slots=True)
class Decision:
    """Which generations and views go, by links and rows."""

    removals: tuple[Removal, ...]
    dropped: tuple[str, ...]  # ids of views that nobody needs any more
    held: tuple[Boot, ...]  # boots that alone hold a view
    needed: frozenset[str]  # ids of views
    unread: tuple[str, ...]  # what is wrong with profiles; no view is dropped then


@dataclass(frozen=True, slots=True)
class CollectionPlan:
    """What a collection would do."""

    removals: tuple[Removal, ...]
    dropped: tuple[str, ...]
    held: tuple[Boot, ...]
    candidates: Mapping[str, Registered]  # store paths that only dropped views have
    unread: tuple[str, ...] = ()  # files that are damaged: something is kept because of each
    deletes: bool = True  # False if a view that is needed cannot be read

    @property
    def bytes(self) -> int:
        return sum(each.size for each in self.candidates.values())


@dataclass(frozen=True, slots=True)
class Freed:
    """Which store paths a collection has deleted."""

    paths: tuple[str, ...]
    bytes: int
    alive: tuple[str, ...]  # store paths that something else holds


@dataclass(frozen=True, slots=True)
class Collection:
    """What a collection did, or would do."""

    plan: CollectionPlan  # what was done of it, where something was done
    freed: Freed | None  # None for a plan only


def collect(
    inventory: Inventory,
    keep: int,
    now: float,
    progress: Callable[[str], None],
    *,
    dry_run: bool = False,
) -> Collection:
    """Collect garbage; `keep` generations of each host stay besides its next boot. Blocking."""

    def decided() -> Decision:
        return _decide(inventory, keep, now)

    plan = plan_collection(inventory.systems, decided())
    if dry_run:
        return Collection(plan, None)
    plan = carry_out(inventory.deployments, plan, decided)
    progress(f"asking Nix which of {len(plan.candidates)} paths are dead")
    return Collection(plan, delete_paths(inventory.state, inventory.systems.store, plan))


def _decide(inventory: Inventory, keep: int, now: float) -> Decision:
    for name, error in inventory.registry.invalid().items():
        # Of a host that is gone everything is taken, and this one is not gone.
        raise StorebootError(
            f"host {name!r} is invalid: {error.message}",
            f"correct the configuration, or run storeboot host set {name} or storeboot host remove "
            f"{name}",
        )
    return decide(
        inventory.deployments,
        inventory.registry.all(),
        inventory.leases(now),
        keep,
        inventory.rollouts.promised(),
    )


def decide(
    deployments: Deployments,
    hosts: Iterable[Host],
    leases: Iterable[Boot],
    keep: int,
    promised: Iterable[StorePath] = (),
) -> Decision:
    """`keep` generations of each host besides the current one; hosts that are gone keep none.

    What the configuration declares is kept, deployed or not yet, and what is promised. So is all
    that a host has had whose machine mounts by nfs.alias: it begins no boots, and nobody knows what
    it runs.
    """
    state, systems = deployments.systems.state, deployments.systems
    known = {host.name: host for host in hosts}
    aliased = {host.name for host in known.values() if systems.config.nfs.alias and host.addresses}
    declared = (host.system for host in known.values() if host.system is not None)
    staying, removals, unread = {*declared, *promised}, list[Removal](), list[str]()
    for host in sorted({*state.profiles.hosts(), *known}):
        made = deployments.generations(host)
        damages = deployments.profile(host).damages()
        unread += damages
        fixed = deployments.needed(host) if host in known else set()
        others = [each for each in made if each.number not in fixed]
        going = others[: max(0, len(others) - keep)] if host in known else others
        going = [] if host in aliased or damages else going
        removals += (Removal(host, each, host not in known) for each in going)
        staying |= {each.system for each in made if each not in going}
    generation_views = set[str]().union(*map(systems.views, staying))
    held = tuple(boot for boot in leases if boot.view not in generation_views)
    needed = generation_views | {boot.view for boot in held}
    dropped = [] if unread else [view for view in state.views.ids() if view not in needed]
    return Decision(
        tuple(removals), tuple(dropped), held, frozenset(needed), tuple(unread)
    )  # fmt: skip


def plan_collection(systems: Systems, decision: Decision) -> CollectionPlan:
    """What comes of a decision: the store paths that nobody needs then."""
    kept, unread_kept = _paths(systems, decision.needed)
    given_up, unread_dropped = _paths(systems, decision.dropped)
    given_up |= systems.state.garbage.get()
    return CollectionPlan(
        removals=decision.removals,
        dropped=tuple(view for view in decision.dropped if view not in unread_dropped),
        held=decision.held,
        candidates={path: each for path, each in given_up.items() if path not in kept},
        unread=(*decision.unread, *unread_kept.values(), *unread_dropped.values()),
        deletes=not unread_kept,
    )


def carry_out(
    deployments: Deployments, plan: CollectionPlan, decide_again: Callable[[], Decision]
) -> CollectionPlan:
    """Take generations, roots and what was built of them away; what was done of the plan."""
    systems = deployments.systems
    state = systems.state
    state.garbage.set(plan.candidates)
    removals = _discard(deployments, plan.removals)
    faults.reach("gc.generations")
    with state.locks.roots(alone=True):
        still = {*decide_again().dropped}
        dropped = tuple(view for view in plan.dropped if view in still)
        for view in dropped:
            state.views.drop(view)
    faults.reach("gc.views")
    forget(state.initrds, lambda system: state.views.is_rooted(view_id([system]).hex()))
    forget_packs(state.packs, state.views.is_rooted)
    state.hot_lists.forget(state.views.is_rooted, KEPT_HOT_LISTS)
    return replace(plan, removals=removals, dropped=dropped)


def _discard(deployments: Deployments, removals: Iterable[Removal]) -> tuple[Removal, ...]:
    """Those that were deleted; somebody may have gone back to a generation meanwhile."""
    by_host: dict[tuple[str, bool], list[Removal]] = {}
    for removal in removals:
        by_host.setdefault((removal.host, removal.is_gone), []).append(removal)
    done: list[Removal] = []
    for (host, is_gone), some in by_host.items():
        numbers = [removal.generation.number for removal in some]
        deleted = deployments.discard(host, numbers, is_gone=is_gone)
        done += (removal for removal in some if removal.generation.number in deleted)
    return tuple(done)


def delete_paths(state: StateDirectory, store: Store, plan: CollectionPlan) -> Freed:
    """Delete those candidates that Nix takes for dead, and that no other garbage refers to."""
    if not plan.deletes:
        return Freed((), 0, tuple(sorted(plan.candidates)))
    candidates = plan.candidates
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
    state.garbage.set({path: candidates[path] for path in alive})
    return Freed(tuple(sorted(freed)), sum(candidates[p].size for p in freed), tuple(sorted(alive)))


def _there(store: Store, paths: Iterable[str]) -> set[str]:
    return {path for path in paths if os.path.lexists(store.physical(StorePath(path)))}


def _paths(systems: Systems, views: Iterable[str]) -> tuple[dict[str, Registered], dict[str, str]]:
    """The store paths of views, and by view what is wrong with those that cannot be read."""
    paths: dict[str, Registered] = {}
    unread: dict[str, str] = {}
    for view in sorted(views):
        try:
            record = systems.state.views.mended(systems.store, view)
            paths |= parse_registration(record.registration) if record is not None else {}
        except (StorebootError, ValueError) as error:
            unread[view] = str(error)
    return paths, unread
