"""A machine's boot seen from its server's database, which another process writes."""

from __future__ import annotations

from network.machine import Machine
from network.serving import Served
from storeboot import config
from storeboot.boot.report import parse_facts
from storeboot.deploy.inventory import opened
from storeboot.hosts.boots import Boot
from storeboot.protocol.orders import Order

BOOT_SECONDS = 600.0


def boot_of(running: Served, host: str = "lab1") -> Boot | None:
    with opened(config.load(running.toml)) as inventory:
        return inventory.boots.latest(host)


def stages(running: Served, host: str = "lab1") -> list[str]:
    with opened(config.load(running.toml)) as inventory:
        return [event.stage for event in inventory.boots.events_since(host, 0)]


def details(running: Served) -> list[str]:
    """What is said of each stage."""
    with opened(config.load(running.toml)) as inventory:
        return [event.detail for event in inventory.boots.events_since("lab1", 0)]


def comes_up(
    running: Served, booted: Machine, seconds: float = BOOT_SECONDS, host: str = "lab1"
) -> Boot:
    """Until it says so; on a failure, what it has said."""

    def is_up() -> bool:
        assert booted.process.poll() is None, booted.said()[-3000:]
        found = stages(running, host)
        assert "failed" not in found, booted.said()[-3000:]
        return "multi-user" in found

    try:
        running.until(is_up, seconds)
    except AssertionError:
        print(booted.said()[-5000:])
        raise
    boot = boot_of(running, host)
    assert boot is not None
    return boot


def facts(running: Served, boot: Boot) -> dict[str, str]:
    """The machine's own account, after it has read all of its store."""
    with opened(config.load(running.toml)) as inventory:
        inventory.orders.give(boot.id, Order.REPORT)
        file = inventory.state.reports.file(boot.id, "facts")
    running.until(file.exists, BOOT_SECONDS)
    return parse_facts(file.read_text())


def goes_off(running: Served, boot: Boot, booted: Machine) -> None:
    with opened(config.load(running.toml)) as inventory:
        inventory.orders.give(boot.id, Order.POWEROFF)
    assert booted.process.wait(240) == 0


def given(running: Served) -> set[str]:
    """Addresses that our dnsmasq has given."""
    leases = running.state / "dhcp" / "kept" / "leases"
    return (
        {line.split()[2] for line in leases.read_text().splitlines()} if leases.exists() else set()
    )
