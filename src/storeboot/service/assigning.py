"""Deploys the systems that the configuration declares, and prepares each host's system.
Blocking."""

from __future__ import annotations

from collections.abc import Callable

import structlog

from storeboot.deploy.inventory import Inventory
from storeboot.errors import StorebootError
from storeboot.hosts.database import DatabaseAwayError
from storeboot.hosts.host import Host
from storeboot.service.current import Assigned

log = structlog.get_logger()
Progress = Callable[[str], None]


def assign(inventory: Inventory, progress: Progress = lambda _text: None) -> Assigned:
    """Deploy what is declared, prepare every host's system, and return the result.

    A host whose system cannot be served is logged and left out. While the database is unreachable
    nothing is deployed, and hosts boot what they booted before.
    """
    try:
        hosts = inventory.registry.all()
    except StorebootError as error:
        return Assigned(inventory, failure=error)
    default = inventory.config.machines.default
    if default is not None and default not in {host.name for host in hosts}:
        log.error("machines.no_default", host=default, reason="there is no such host")
    faults: dict[str, StorebootError] = {}
    is_declared = True
    for host in hosts:
        try:
            is_declared &= _declare(inventory, host, progress)
            _make_ready(inventory, host, progress)
        except StorebootError as error:
            faults[host.name] = error
            log.error("host.cannot_boot", host=host.name, reason=error.message, hint=error.hint)
    nobody = bool(hosts) and len(faults) == len(hosts)
    failure = next(iter(faults.values())) if nobody else None
    return Assigned(inventory, faults, is_declared, failure)


def _declare(inventory: Inventory, host: Host, progress: Progress) -> bool:
    """Deploy what is declared for a host; return False if the database is unreachable."""
    try:
        hold = inventory.holds.get(host.name)
        if hold is not None:
            log.warning("host.held", host=host.name, reason=hold.reason)
        elif inventory.deployments.declare(host, inventory.url, progress):
            inventory.rollouts.take_over(host.name)
    except DatabaseAwayError:
        return False
    return True


def _make_ready(inventory: Inventory, host: Host, progress: Progress) -> None:
    """Prepare the system that the host boots next; raise StorebootError if it cannot boot."""
    system = inventory.deployments.current(host.name)
    if system is None:
        return
    systems = inventory.systems
    assignment = systems.prepare(systems.booted(host, system), host, progress)
    systems.plan(host, assignment).command_line(inventory.url)
