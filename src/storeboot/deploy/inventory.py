"""Everything that commands and the server know, opened from one configuration."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

from storeboot import files
from storeboot.config import Config
from storeboot.deploy.deployments import Deployments
from storeboot.deploy.rollouts import Rollouts
from storeboot.deploy.state import StateDirectory, make_state_directory
from storeboot.deploy.systems import Systems
from storeboot.deploy.testing import GenerationTests
from storeboot.deploy.tidying import restrict_database
from storeboot.deploy.unrecorded import unrecorded_views
from storeboot.hosts.boots import Boot, Boots
from storeboot.hosts.database import COMMAND_SECONDS, Database, database_url, open_database
from storeboot.hosts.holds import Holds
from storeboot.hosts.host import Host
from storeboot.hosts.orders import Orders
from storeboot.hosts.registry import Registry
from storeboot.hosts.rollouts import RolloutTable
from storeboot.hosts.unknown import UnknownMachines
from storeboot.nix.store import Store

DAY = 86400.0


@dataclass(frozen=True, slots=True)
class Inventory:
    """The hosts, boots, systems and generations of one server."""

    config: Config
    database: Database
    state: StateDirectory
    registry: Registry
    boots: Boots
    unknown: UnknownMachines
    orders: Orders
    holds: Holds
    deployments: Deployments
    tests: GenerationTests
    rollouts: Rollouts

    @property
    def systems(self) -> Systems:
        return self.deployments.systems

    @property
    def url(self) -> str:
        return boot_url(self.config)

    def url_towards(self, local: str) -> str:
        """Return the server's URL for a machine that asked at the server address `local`."""
        return boot_url(self.config, local)

    @property
    def lease(self) -> float:
        """Return how many seconds a machine that is not heard of keeps what it runs."""
        return self.config.boots.lease_days * DAY

    def known(self) -> list[Host]:
        """Return all hosts, including guest hosts of unknown machines that have booted."""
        hosts = {host.name: host for host in self.registry.all()}
        for name in sorted(self.boots.hosts() - hosts.keys()):
            guest = self.registry.get(name)
            if guest is not None:
                hosts[name] = guest
        return list(hosts.values())

    def remove(self, host: str) -> None:
        """Remove an added host with everything that was its own, so that its name can be used
        again."""
        self.registry.remove(host)
        self.rollouts.forget(host)
        self.deployments.forget(host)
        files.remove(self.state.host_key(host))
        self.state.given.forget(host)

    def leases(self, now: float) -> list[Boot]:
        """Return the boots that hold their views, including those that are not recorded yet.

        Server downtime does not count: machines that waited for the server could not show that they
        were running.
        """
        views = sorted(unrecorded_views(self.state.path))
        until = self.state.serving.until()
        recorded = self.boots.leases(now if until is None else min(now, until), self.lease)
        return [*recorded, *(self._unrecorded(view, now) for view in views)]

    def _unrecorded(self, view: str, now: float) -> Boot:
        toplevel = self.state.views.toplevel(view)
        return Boot(
            id="not recorded yet", host="a machine", view=view,
            system=toplevel.text if toplevel is not None else view, nonce="",
            machine="", address="", began_at=now, seen_at=now,
        )  # fmt: skip

    def resume(self, now: float) -> None:
        """Continue boot leases where they stood when the server went down."""
        until = self.state.serving.until()
        down = max(0.0, now - until) if until is not None else 0.0
        if until is not None and down:
            self.boots.prolong(down, until - self.lease)
        self.state.serving.note()
        self.rollouts.resume(now, down)


def make_inventory(config: Config, database: Database) -> Inventory:
    """Return the inventory of an existing state directory; the database may be unreachable."""
    state = StateDirectory(config.server.state_directory)
    restrict_database(state.path)
    systems = Systems(config, state, Store(config.store.root), state.server_key.get())
    deployments = Deployments(systems, database)
    tests = GenerationTests(deployments)
    registry, boots = Registry(config, database), Boots(database)
    orders, holds = Orders(database), Holds(database)
    table, url = RolloutTable(database), boot_url(config)
    return Inventory(
        config=config,
        database=database,
        state=state,
        registry=registry,
        boots=boots,
        unknown=UnknownMachines(database),
        orders=orders,
        holds=holds,
        deployments=deployments,
        tests=tests,
        rollouts=Rollouts(
            table, tests, registry, boots, orders, holds, url, float(config.agent.heartbeat)
        ),
    )


def boot_url(config: Config, local: str = "") -> str:
    """Return the URL at which machines ask.

    A machine that asked at `local` gets the address on its own network, if it is on one.
    """
    return f"http://{config.address_towards(local)}:{config.http.port}"


@contextmanager
def looked_into(config: Config) -> Iterator[Inventory]:
    """Open the inventory for a command that changes nothing.

    If no command has used the state directory yet, an empty temporary one stands in for it, so that
    nothing is created there.
    """
    if StateDirectory(config.server.state_directory).server_key.file.exists():
        with opened(config) as inventory:
            yield inventory
        return
    with TemporaryDirectory(prefix="storeboot-") as place:
        server = config.server.model_copy(update={"state_directory": Path(place)})
        with opened(config.model_copy(update={"server": server})) as inventory:
            yield inventory


@contextmanager
def opened(config: Config, seconds: float = COMMAND_SECONDS) -> Iterator[Inventory]:
    """Open the inventory for a command, whose transactions take at most `seconds`."""
    make_state_directory(config.server.state_directory)  # SQLite needs the directory
    database = open_database(database_url(config), seconds)
    try:
        yield make_inventory(config, database)
    finally:
        database.dispose()
