"""Finds out which host a machine is and which system it boots. Blocking."""

from __future__ import annotations

import re
from datetime import UTC, datetime

from storeboot.boot import script
from storeboot.deploy.inventory import Inventory
from storeboot.deploy.systems import Assignment
from storeboot.errors import StorebootError
from storeboot.hosts.database import DatabaseAwayError
from storeboot.hosts.host import AmbiguousMachineError, Host
from storeboot.nix.store import StorePath
from storeboot.service.asked import Asked
from storeboot.service.current import Assigned
from storeboot.service.refusals import RefusedError

MENU_GENERATIONS = 5
RUNS = 30.0  # seconds: a machine that was heard of since then is running
MAX_HOSTS = 200  # in a menu
_CHOICE = re.compile(r"([0-9]{1,9})(?:\.([A-Za-z0-9][A-Za-z0-9+._-]*))?")
_VIEW = re.compile(r"[0-9a-f]{32}")


def find(inventory: Inventory, asked: Asked, now: float) -> Host | None:
    """Return the machine's host, or None if somebody has to choose one at its console.

    Raises RefusedError with the reason if the machine is no host.
    """
    registry, policy = inventory.registry, inventory.config.machines
    machine = asked.machine
    try:
        host = registry.find(machine)
    except AmbiguousMachineError as error:
        raise RefusedError(str(error)) from None
    except StorebootError as error:  # an added host that has become invalid
        raise RefusedError(error.message) from None
    if host is not None:
        return host
    seen = policy.unknown != "ignore" and inventory.unknown.see(machine, asked.address, now)
    if seen and policy.unknown == "menu" and not asked.like:
        return None
    if seen and policy.unknown in ("menu", "default"):
        like = policy.default or asked.like
        host = registry.guest(machine, like)
        if host is None:
            raise RefusedError(f"there is no host {like} to boot like")
        return host
    raise RefusedError(f"no host has mac {machine.mac}, uuid {machine.uuid}")


def is_offered(inventory: Inventory, host: Host, now: float) -> bool:
    """Return whether a rollout has a system for the host.

    False if the host's machine is running, because then somebody else asks in its name, and while
    the database is unreachable, because an offer has to be recorded.
    """
    try:
        if inventory.rollouts.table.waiting_for(host.name) is None:
            return False
        boot = inventory.boots.latest(host.name)
    except DatabaseAwayError:
        return False
    return boot is None or boot.ended_at is not None or boot.seen_at <= now - RUNS


def menu(inventory: Inventory, asked: Asked, now: float) -> str:
    """Return the menu of the machine's host, or of the hosts that it may boot like."""
    host = find(inventory, asked, now)
    if host is None:
        return hosts_menu(inventory, asked)
    return generations_menu(inventory, host, asked)


def hosts_menu(inventory: Inventory, asked: Asked) -> str:
    hosts = inventory.registry.all()[:MAX_HOSTS]
    return script.menu_script(
        url=inventory.url_towards(asked.local), query=asked.query,
        title=f"{asked.machine.mac} is unknown; boot like",
        items=[script.Item(host.name, host.name) for host in hosts], parameter="like",
        default=script.LEAVE, seconds=script.UNKNOWN_SECONDS,
    )  # fmt: skip


def generations_menu(inventory: Inventory, host: Host, asked: Asked) -> str:
    """Return the menu with what the host boots next, then its newest generations."""
    made = inventory.deployments.generations(host.profile)[::-1]
    made.sort(key=lambda each: not each.current)
    items, own = [], ""
    for generation in made[:MENU_GENERATIONS]:
        day = datetime.fromtimestamp(generation.made_at, UTC).strftime("%Y-%m-%d")
        for name in inventory.systems.choices(generation.system):
            key = f"{generation.number}.{name}" if name else str(generation.number)
            if generation.current and name == (host.specialisation or ""):
                own = key
            words = [f"Generation {generation.number}", day, generation.system.name, name]
            if _CHOICE.fullmatch(key):
                items.append(script.Item(key, "  ".join(word for word in words if word)))
    if not items:
        raise RefusedError(f"host {host.name} has no generation", "" if host.like else host.name)
    return script.menu_script(
        url=inventory.url_towards(asked.local), query=asked.query, title=host.name, items=items,
        parameter="choice", default=own or items[0].key, seconds=script.MENU_SECONDS,
    )  # fmt: skip


def system_of(assigned: Assigned, host: Host, choice: str) -> tuple[StorePath, Assignment | None]:
    """Return the system that a host boots next or that was chosen, and its assignment.

    The assignment is None if the system has not been prepared yet.
    """
    inventory = assigned.inventory
    systems, deployments = inventory.systems, inventory.deployments
    if choice:
        chosen = _chosen(inventory, host, choice)
        return chosen, systems.get(chosen, host)
    system = deployments.settled(host.like) if host.like else deployments.current(host.name)
    if system is None and host.name in assigned.faults:
        fault = assigned.faults[host.name].message
        raise RefusedError(f"host {host.name} cannot boot: {fault}")
    if system is None:
        damages = deployments.profile(host.profile).damages()
        fault = f"cannot boot: {damages[0]}" if damages else "has no system"
        raise RefusedError(f"host {host.name} {fault}; storeboot deploy {host.profile}")
    try:
        booted = systems.booted(host, system)
    except StorebootError as error:
        raise RefusedError(error.message) from None
    return booted, systems.get(booted, host)


def _chosen(inventory: Inventory, host: Host, choice: str) -> StorePath:
    match = _CHOICE.fullmatch(choice)
    number = int(match[1]) if match else 0
    system = inventory.deployments.profile(host.profile).system(number)
    choices = inventory.systems.choices(system) if system is not None else {}
    name = (match[2] if match else None) or ""
    if name not in choices:
        raise RefusedError(f"host {host.name} has no generation {choice[:40]}")
    return choices[name]


def is_view(view: str) -> bool:
    """Return whether a word has the form of a view id."""
    return _VIEW.fullmatch(view) is not None


def system_of_view(
    inventory: Inventory, view: str, host: str | None
) -> tuple[Assignment | None, StorePath | None, Host | None]:
    """Return the assignment of a rooted view, its system, and the named host.

    The assignment is None if the system has not been prepared yet, and the system None if the view
    is not rooted.
    """
    systems = inventory.systems
    found = systems.any_of(view) if host is None else None
    if found is not None:
        return found, None, None
    system = systems.of_view(view) if is_view(view) else None
    known = inventory.registry.get(host) if host else None
    return (systems.get(system, known) if system is not None else None), system, known


def is_of(inventory: Inventory, host: str, view: str) -> bool:
    """Return whether a known host may boot the view."""
    known = inventory.registry.get(host)
    if known is None or known.like is not None:
        return False
    return inventory.deployments.has_view(known.profile, view)
