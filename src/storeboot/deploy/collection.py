"""Garbage collection that knows which machine runs what.

It keeps the views of every generation that stays, and of every boot that holds a lease. What only
the other views need is deleted by Nix, which knows all other roots and refuses to delete what is
still alive.

Boots that begin wait while it is decided which views go. So this decision is made twice: first
without the lock, when store paths are listed and generations deleted, and then again with the lock
held exclusively, from links and rows only. No Nix runs under that lock, and nothing is synced.

What cannot be read is kept. A damaged profile or view may need any path, so as long as there is
one, no view is dropped, or no path deleted.
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
from storeboot.deploy.tidying import sweep
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

KEPT_HOT_LISTS = 8  # of dropped views


@dataclass(frozen=True, slots=True)
class Removal:
    """A generation to delete."""

    host: str
    generation: Generation
    is_gone: bool  # whether its host no longer exists


@dataclass(frozen=True, slots=True)
class Decision:
    """Which generations and views are dropped, decided from links and rows."""

    removals: tuple[Removal, ...]
    dropped: tuple[str, ...]  # ids of views that nothing needs any more
    held: tuple[Boot, ...]  # boots that are the only reason why a view is kept
    needed: frozenset[str]  # ids of views
    unread: tuple[str, ...]  # damage to profiles; no view is dropped because of it


@dataclass(frozen=True, slots=True)
class CollectionPlan:
    """What a collection would do."""

    removals: tuple[Removal, ...]
    dropped: tuple[str, ...]
    held: tuple[Boot, ...]
    candidates: Mapping[str, Registered]  # store paths that only dropped views have
    unread: tuple[str, ...] = ()  # damaged files; something is kept because of each
    deletes: bool = True  # False if a view that is needed cannot be read

    @property
    def bytes(self) -> int:
        return sum(each.size for each in self.candidates.values())


@dataclass(frozen=True, slots=True)
class Freed:
    """The store paths that a collection has deleted."""

    paths: tuple[str, ...]
    bytes: int
    alive: tuple[str, ...]  # store paths that something else needs


@dataclass(frozen=True, slots=True)
class Collection:
    """What a collection did, or would do."""

    plan: CollectionPlan  # if something was done: the part of the plan that was carried out
    freed: Freed | None  # None if this is only a plan


def collect(
    inventory: Inventory,
    keep: int,
    now: float,
    progress: Callable[[str], None],
    *,
    dry_run: bool = False,
) -> Collection:
    """Collect garbage, and keep `keep` generations of each host besides its next boot. Blocking."""

    def decided() -> Decision:
        return _decide(inventory, keep, now)

    plan = plan_collection(inventory.systems, decided())
    if dry_run:
        return Collection(plan, None)
    sweep(inventory.state.path)
    plan = carry_out(inventory.deployments, plan, decided)
    progress(f"asking Nix which of {len(plan.candidates)} paths are dead")
    return Collection(plan, delete_paths(inventory.state, inventory.systems.store, plan))


def _decide(inventory: Inventory, keep: int, now: float) -> Decision:
    for name, error in inventory.registry.invalid().items():
        # A removed host loses everything; this host may only look removed.
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
    """Decide which generations and views to drop.

    Kept are `keep` generations of each host besides the current one, or none if the host no longer
    exists; systems that the configuration declares, deployed or not yet; and systems that are
    promised to rollouts. If a host's machine mounts through the alias, all that the host has had is
    kept: such a machine begins no boots, so it is not known what it runs.
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
    """Return what follows from a decision: the store paths that nothing needs after it."""
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
    """Remove generations and roots, and what was built of them; return the part of the plan
    done."""
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
    """Delete generations; return those deleted, as a rollback may have made one current again."""
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
    """Delete the candidates that Nix considers dead and that no other garbage refers to."""
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
        except CommandError as error:  # something has begun to need one of them
            log.warning("gc.refused", reason=error.message)
        else:
            freed += some
    alive = _there(store, there - set(freed))  # Nix's own collection may have been faster
    # Dead paths that other garbage refers to can be deleted next time.
    state.garbage.set({path: candidates[path] for path in alive})
    return Freed(tuple(sorted(freed)), sum(candidates[p].size for p in freed), tuple(sorted(alive)))


def _there(store: Store, paths: Iterable[str]) -> set[str]:
    return {path for path in paths if os.path.lexists(store.physical(StorePath(path)))}


def _paths(systems: Systems, views: Iterable[str]) -> tuple[dict[str, Registered], dict[str, str]]:
    """Return the store paths of views, and for each view that cannot be read, what is wrong."""
    paths: dict[str, Registered] = {}
    unread: dict[str, str] = {}
    for view in sorted(views):
        try:
            record = systems.state.views.mended(systems.store, view)
            paths |= parse_registration(record.registration) if record is not None else {}
        except (StorebootError, ValueError, OSError) as error:
            unread[view] = str(error)
    return paths, unread
