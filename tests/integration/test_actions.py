"""What commands do, as an API would ask for it: requests in, values out."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import Engine, event

from integration.deploying import lease, make_system
from storeboot.boot.state import Condition
from storeboot.config import Config, HostSection, SettingsSection
from storeboot.deploy import actions, following, overview
from storeboot.deploy.actions import (
    Change,
    Deployed,
    DeployRequest,
    ProbationRequest,
    RolloutRequest,
)
from storeboot.deploy.collection import collect
from storeboot.deploy.inventory import Inventory, opened
from storeboot.deploy.overview import Live
from storeboot.errors import StorebootError
from storeboot.hosts.boot import Event
from storeboot.hosts.rollouts import RolloutStanding
from storeboot.nix.store import StorePath
from storeboot.protocol.orders import Order

MACS = {"lab1": "52:54:00:00:01:01", "lab2": "52:54:00:00:01:02"}


@pytest.fixture
def inventory(config: Config) -> Iterator[Inventory]:
    hosts = {name: HostSection(mac=(mac,), group="lab") for name, mac in MACS.items()}
    with opened(
        config.model_copy(update={"hosts": hosts, "groups": {"lab": SettingsSection()}})
    ) as made:
        yield made


@pytest.fixture
def systems(config: Config, tmp_path: Path) -> list[StorePath]:
    return [make_system(config, tmp_path, number) for number in (1, 2)]


def quiet(_text: str) -> None:
    pass


def test_a_group_is_given_a_system_but_for_who_is_held(
    inventory: Inventory, systems: list[StorePath]
) -> None:
    inventory.rollouts.hold("lab2", "an exam", 1.0)
    assert actions.changes(inventory, "lab") == [
        Change("lab1", None, is_held=False), Change("lab2", None, is_held=True)
    ]  # fmt: skip
    said: list[str] = []
    done = actions.deploy(inventory, DeployRequest("lab", systems[0]), said.append)
    reason = "host 'lab2' is held: an exam"
    assert done == Deployed({"lab1": 1}, {"lab2": reason})
    assert said[-2:] == ["lab1: generation 1 boots next", f"{reason}: skipped"]
    with pytest.raises(StorebootError, match=reason):
        actions.deploy(inventory, DeployRequest("lab2", systems[0]), quiet)


def test_what_all_hosts_boot_next_takes_one_question(
    inventory: Inventory, systems: list[StorePath]
) -> None:
    one, two = systems
    for name in MACS:
        actions.deploy(inventory, DeployRequest(name, one), quiet)
    actions.test(inventory, ProbationRequest("lab1", two), quiet)
    asked: list[str] = []

    def note(_connection: object, _cursor: object, statement: str, *_rest: object) -> None:
        asked.append(statement)

    event.listen(Engine, "before_cursor_execute", note)
    try:
        found = inventory.deployments.all_current([*MACS, "nobody"])
    finally:
        event.remove(Engine, "before_cursor_execute", note)
    assert found == {"lab1": two, "lab2": one, "nobody": None}
    assert [line.split()[0] for line in asked] == ["SELECT"]


def test_a_group_tries_a_system_or_nobody_does(
    inventory: Inventory, systems: list[StorePath]
) -> None:
    one, two = systems
    actions.deploy(inventory, DeployRequest("lab1", one), quiet)
    with pytest.raises(StorebootError, match="'lab2' has no generation to fall back to"):
        actions.test(inventory, ProbationRequest("lab", two), quiet)
    assert inventory.deployments.probations.all_open() == []
    actions.deploy(inventory, DeployRequest("lab2", one), quiet)
    done = actions.test(inventory, ProbationRequest("lab", two, confirms=True), quiet)
    assert done == Deployed({"lab1": 2, "lab2": 2}, {})
    tests = inventory.deployments.probations.all_open()
    assert [(each.generation, each.seconds, each.confirms) for each in tests] == [
        (2, 600, True)
    ] * 2


def test_a_rollout_begins_for_all_hosts_of_a_group(
    inventory: Inventory, systems: list[StorePath]
) -> None:
    one, two = systems
    actions.deploy(inventory, DeployRequest("lab", one), quiet)
    request = RolloutRequest("lab", two, batch=1, word=Order.KEXEC)
    begun = actions.roll_out(inventory, request, quiet, 1.0)
    assert (begun.hosts, begun.batch) == (("lab1", "lab2"), 1)
    found = following.require(inventory, begun.id)
    assert (found.standing, found.max_failures, found.word) == (
        RolloutStanding.RUNNING,
        1,
        Order.KEXEC,
    )
    with pytest.raises(StorebootError, match=f"no server is running: rollout {begun.id} waits"):
        following.follow(inventory, begun.id, quiet)
    following.stop(inventory, begun.id)
    said: list[str] = []
    with pytest.raises(StorebootError, match=f"rollout {begun.id} was stopped: by hand"):
        following.follow(inventory, begun.id, said.append)
    assert said == [f"{host}: left the rollout was stopped" for host in begun.hosts]


def test_a_rollout_that_cannot_move_says_why_until_its_server_is_gone(
    inventory: Inventory, systems: list[StorePath], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(following, "POLL_SECONDS", 0.01)
    monkeypatch.setattr(following, "STILL_SECONDS", 0.05)
    monkeypatch.setattr(following, "RESTART_SECONDS", 0.2)
    one, two = systems
    actions.deploy(inventory, DeployRequest("lab", one), quiet)
    for host in MACS:
        inventory.rollouts.hold(host, "an exam", 1.0)
    begun = actions.roll_out(inventory, RolloutRequest("lab", two), quiet, 1.0)
    said: list[str] = []
    serving = ExitStack()
    serving.enter_context(inventory.state.serving.held())

    def hear(text: str) -> None:
        said.append(text)
        if len(said) == 3:
            serving.close()  # as the kernel does when the server is killed

    with pytest.raises(StorebootError, match="no server is running: rollout 1 waits for it"):
        following.follow(inventory, begun.id, hear)
    assert said[:3] == ["rollout 1 waits: lab1, lab2: held (an exam)"] * 3
    assert set(said[3:]) == {"rollout 1 waits: no server is running"}
    assert [each.standing for each in inventory.rollouts.table.members(1)] == ["waiting"] * 2


def test_who_waits_for_a_server_goes_on_without_one(
    inventory: Inventory, systems: list[StorePath], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(following, "POLL_SECONDS", 0.01)
    monkeypatch.setattr(following, "STILL_SECONDS", 0.05)
    monkeypatch.setattr(following, "RESTART_SECONDS", 0.0)
    one, two = systems
    actions.deploy(inventory, DeployRequest("lab", one), quiet)
    begun = actions.roll_out(inventory, RolloutRequest("lab", two), quiet, 1.0)
    said: list[str] = []

    def hear(text: str) -> None:
        said.append(text)
        if len(said) == 3:
            following.stop(inventory, begun.id)

    with pytest.raises(StorebootError, match="was stopped: by hand"):
        following.follow(inventory, begun.id, hear, server_needed=False)
    assert said[:3] == ["rollout 1 waits: no server is running"] * 3


def test_a_rollout_of_hosts_that_all_leave_has_given_nothing(
    inventory: Inventory, systems: list[StorePath]
) -> None:
    one, two = systems
    actions.deploy(inventory, DeployRequest("lab", one), quiet)
    begun = actions.roll_out(inventory, RolloutRequest("lab", two), quiet, 1.0)
    for host in MACS:
        inventory.rollouts.take_over(host)
    inventory.rollouts.advance(2.0)
    with pytest.raises(StorebootError, match="has given the system to no host: lab1: something"):
        following.follow(inventory, begun.id, quiet)


def test_a_group_whose_hosts_are_all_held_is_an_error(
    inventory: Inventory, systems: list[StorePath]
) -> None:
    for host in MACS:
        inventory.rollouts.hold(host, "an exam", 1.0)
    said: list[str] = []
    with pytest.raises(StorebootError, match="no host got the system: all 2 of them are held"):
        actions.deploy(inventory, DeployRequest("lab", systems[0]), said.append)
    assert said[-2:] == [f"host '{host}' is held: an exam: skipped" for host in MACS]


def test_a_host_goes_back_and_keeps_what_it_has_tried(
    inventory: Inventory, systems: list[StorePath]
) -> None:
    one, two = systems
    for system in systems:
        actions.deploy(inventory, DeployRequest("lab1", system), quiet)
    assert actions.roll_back(inventory, "lab1", dry_run=True).system == one
    assert inventory.deployments.current("lab1") == two
    assert actions.roll_back(inventory, "lab1").number == 1
    assert inventory.deployments.current("lab1") == one
    with pytest.raises(StorebootError, match="no test to confirm"):
        actions.confirm(inventory, "lab1")


def test_what_a_host_runs_and_boots_next(inventory: Inventory, systems: list[StorePath]) -> None:
    one = systems[0]
    for system in systems:
        actions.deploy(inventory, DeployRequest("lab1", system), quiet)
    boot = lease(inventory, one, 1)
    first, second = overview.overview(inventory).hosts
    assert (first.name, first.boot, first.is_running) == ("lab1", boot, True)
    assert [each.number if each else None for each in (first.runs, first.next)] == [1, 2]
    assert (second.name, second.boot, second.next) == ("lab2", None, None)
    rows = overview.generations(inventory, "lab1")
    assert [(row.generation.number, row.runs) for row in rows] == [(1, True), (2, False)]
    for look in (overview.generations, overview.timeline):
        with pytest.raises(StorebootError, match="no host 'lab9'"):
            look(inventory, "lab9")


def test_a_machine_without_power_is_silent_although_its_connection_is_open(
    inventory: Inventory, systems: list[StorePath]
) -> None:
    actions.deploy(inventory, DeployRequest("lab1", systems[0]), quiet)
    boot = lease(inventory, systems[0], 1, began_at=1000.0, seen_at=1000.0)
    for at, stage in ((1001.0, "agent"), (1002.0, "multi-user")):
        inventory.boots.record(Event("lab1", "agent", stage, at, boot.id))
    # TCP needs minutes to notice; until then the server renews the boot lease.
    inventory.boots.touch_addresses([boot.address], 1290.0)

    def look(now: float, **live: Any) -> overview.HostOverview:
        return overview.overview(inventory, Live(now, 0.0, **live)).hosts[0]

    heard = {boot.id: 1100.0}
    assert look(1219.0, heard=heard).state.condition is Condition.UP
    found = look(1300.0, heard=heard)
    assert found.state.condition is Condition.SILENT
    assert found.state.words.startswith("no sign of life for 3 min (last seen 1970-01-01 00:18:20")
    assert (found.is_running, found.runs) == (False, None)
    (row,) = overview.generations(inventory, "lab1", Live(1300.0, 0.0, heard))
    assert not row.runs
    # Without a server nobody could hear it: it is what it was then.
    assert overview.overview(inventory).hosts[0].state.condition is Condition.UP


def test_a_boot_that_failed_runs_nothing(inventory: Inventory, systems: list[StorePath]) -> None:
    actions.deploy(inventory, DeployRequest("lab1", systems[0]), quiet)
    boot = lease(inventory, systems[0], 1)
    assert overview.generations(inventory, "lab1")[0].runs
    event = Event("lab1", "initrd", "failed", boot.began_at + 1, boot.id, detail="no route\nlog")
    inventory.boots.record(event)
    found = overview.overview(inventory).hosts[0]
    assert (found.state.condition, found.state.words) == (Condition.FAILED, "no route")
    assert (found.is_running, found.runs) == (False, None)
    assert not overview.generations(inventory, "lab1")[0].runs


def test_a_collection_is_planned_and_carried_out(
    inventory: Inventory, systems: list[StorePath]
) -> None:
    one, two = systems
    for system in systems:
        actions.deploy(inventory, DeployRequest("lab1", system), quiet)
    planned = collect(inventory, 0, 1.0, quiet, dry_run=True)
    assert planned.freed is None
    assert [each.generation.system for each in planned.plan.removals] == [one]
    assert len(inventory.deployments.generations("lab1")) == 2
    done = collect(inventory, 0, 1.0, quiet)
    assert done.freed is not None
    assert one.text in done.freed.paths
    assert [each.system for each in inventory.deployments.generations("lab1")] == [two]
