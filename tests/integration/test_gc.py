"""Leases and garbage collection, on a real Nix store and through the commands."""

from __future__ import annotations

import asyncio
import json
import os
import time
from pathlib import Path

import pytest

from integration.deploying import (
    collect_garbage,
    exists,
    generations,
    killed_at,
    lease,
    make_system,
    storeboot,
)
from integration.servers import MAC, as_toml
from integration.stores import QUIET
from storeboot.config import Config, HostSection
from storeboot.deploy.inventory import opened
from storeboot.errors import CommandError
from storeboot.nfs.views import view_id
from storeboot.nix.store import Store, StorePath
from storeboot.process import run

DAY = 86400.0


def test_what_a_machine_runs_outlives_its_generation(
    config: Config, path: Path, tmp_path: Path
) -> None:
    one, two, three = (make_system(config, tmp_path, number) for number in (1, 2, 3))
    for system in (one, two, three):
        storeboot(path, "deploy", "lab1", system)
    with opened(config) as inventory:
        boot = lease(inventory, one, 1)
    document = json.loads(storeboot(path, "gc", "--keep", 0, "--dry-run", "--json"))
    assert document["freed"] == [two.text]
    assert [number for number, _, _ in generations(path)] == [1, 2, 3]
    document = json.loads(storeboot(path, "gc", "--keep", 0, "--json"))
    assert [each["generation"] for each in document["removed"]] == [1, 2]
    assert [each["boot"] for each in document["held"]] == [boot.id]
    assert document["freed"] == [two.text]
    assert document["bytes"] > 0
    initrds = list((config.server.state_directory / "initrds").glob("*.img"))
    assert len(initrds) == 2
    collect_garbage(config)
    assert exists(config, one)
    assert not exists(config, two)
    with opened(config) as inventory:
        inventory.boots.end(boot.id, time.time())
    assert json.loads(storeboot(path, "gc", "--json"))["freed"] == [one.text]
    assert not exists(config, one)
    assert exists(config, three)


@pytest.mark.parametrize(
    ("seen", "ended", "ended_by", "holds"),  # seconds before now
    [
        (0, None, None, True),
        (8 * DAY, None, None, False),
        (700, 700, "boot", False),
        (0, 0, "boot", True),
        # Somebody else has begun a boot in its name, and it still speaks.
        (0, 700, "boot", True),
        (0, 60, "shutdown", False),
    ],
)
def test_how_a_lease_ends(
    config: Config,
    tmp_path: Path,
    seen: float,
    ended: float | None,
    ended_by: str | None,
    holds: bool,
) -> None:
    system = make_system(config, tmp_path, 1)
    with opened(config) as inventory:
        now = time.time()
        ended_at = None if ended is None else now - ended
        boot = lease(inventory, system, 1, seen_at=now - seen, ended_at=ended_at, ended_by=ended_by)
        assert inventory.boots.leases(now, 7 * DAY) == ([boot] if holds else [])


def test_a_mounts_connection_renews_the_lease(config: Config, tmp_path: Path) -> None:
    system = make_system(config, tmp_path, 1)
    with opened(config) as inventory:
        lease(inventory, system, 1, seen_at=time.time() - 6 * DAY)
        later = time.time() + 6 * DAY
        inventory.boots.touch_addresses(["10.0.0.9"], later)
        assert not inventory.boots.leases(later, 7 * DAY)
        inventory.boots.touch_addresses(["10.0.0.1"], later)
        assert inventory.boots.leases(later, 7 * DAY)


def test_another_machine_at_its_old_address_renews_no_lease(config: Config, tmp_path: Path) -> None:
    system = make_system(config, tmp_path, 1)
    with opened(config) as inventory:
        now = time.time()
        lease(inventory, system, 1, began_at=now - 30, seen_at=now - 30)
        moved = lease(inventory, system, 2, address="10.0.0.2", began_at=now - 20, seen_at=now)
        inventory.boots.touch_addresses(["10.0.0.1"], now)  # a boot in its name, at its address
        assert len(inventory.boots.leases(now, DAY)) == 2
        other = lease(inventory, system, 3, host="lab2", began_at=now - 10, seen_at=now)
        later = now + 2 * DAY
        inventory.boots.touch_addresses(["10.0.0.1", "10.0.0.2"], later)
        holding = {boot.id for boot in inventory.boots.leases(later, DAY)}
        assert holding == {moved.id, other.id}


def test_a_host_that_is_removed_frees_what_it_had(
    config: Config, path: Path, tmp_path: Path
) -> None:
    system = make_system(config, tmp_path, 1)
    storeboot(path, "host", "add", "lab2", "--serial", "S2", "--system", system)
    storeboot(path, "host", "remove", "lab2")
    assert not (config.server.state_directory / "profiles" / "lab2").exists()
    assert json.loads(storeboot(path, "gc", "--json"))["freed"] == [system.text]
    assert not exists(config, system)
    storeboot(path, "host", "add", "lab2", "--serial", "S3")
    assert json.loads(storeboot(path, "generations", "lab2", "--json")) == []


@pytest.mark.parametrize("point", ["gc.generations", "view.unwritten", "gc.views"])
async def test_gc_killed_at_any_point_loses_nothing_and_goes_on(
    config: Config, path: Path, tmp_path: Path, point: str
) -> None:
    one, two, three = (make_system(config, tmp_path, number) for number in (1, 2, 3))
    for system in (one, two, three):
        await asyncio.to_thread(storeboot, path, "deploy", "lab1", system)
    with opened(config) as inventory:
        lease(inventory, one, 1)
    await killed_at(point, path, "gc", "--keep", "0")
    assert generations(path) == [(3, three.text, True)]
    assert exists(config, one)
    await asyncio.to_thread(storeboot, path, "gc", "--keep", 0)
    await asyncio.to_thread(collect_garbage, config)
    assert [exists(config, each) for each in (one, two, three)] == [True, False, True]
    state = config.server.state_directory
    kept = {view_id([each.text]).hex() for each in (one, three)}
    assert {file.name for file in (state / "roots").iterdir()} == kept
    assert {file.stem for file in (state / "views").glob("*.json")} == kept


def test_gc_leaves_what_other_garbage_refers_to(config: Config, path: Path, tmp_path: Path) -> None:
    """Nix refuses to delete a path alone that a dead one refers to."""
    one, two, three = (make_system(config, tmp_path, number) for number in (1, 2, 3))
    store = Store(config.store.root)
    for system in (one, two, three):
        storeboot(path, "deploy", "lab1", system)
    garbage = add_reference(store, tmp_path, one)
    document = json.loads(storeboot(path, "gc", "--keep", 0, "--json"))
    assert (document["freed"], document["alive"]) == ([two.text], [one.text])
    collect_garbage(config)
    assert not exists(config, garbage)
    assert not exists(config, one)


def test_gc_takes_up_what_it_could_not_delete(config: Config, path: Path, tmp_path: Path) -> None:
    one, two = (make_system(config, tmp_path, number) for number in (1, 2))
    for system in (one, two):
        storeboot(path, "deploy", "lab1", system)
    root = tmp_path / "root-of-mine"
    Store(config.store.root).add_root(root, one)
    assert json.loads(storeboot(path, "gc", "--keep", 0, "--json"))["alive"] == [one.text]
    root.unlink()
    assert json.loads(storeboot(path, "gc", "--json"))["freed"] == [one.text]
    assert json.loads(storeboot(path, "gc", "--json"))["freed"] == []


def add_reference(store: Store, directory: Path, path: StorePath) -> StorePath:
    """A path that refers to another, and that nobody needs."""
    text = directory / "refers"
    text.write_text(f"see {path}\n")
    name = f"/nix/store/{'1' * 32}-refers"
    target = store.physical(StorePath(name))
    target.write_text(text.read_text())
    digest = run(["nix-hash", "--type", "sha256", target]).strip()
    size = len(run(["nix-store", "--dump", target]).encode(errors="surrogateescape"))
    entry = f"{name}\n{digest}\n{size}\n\n1\n{path}\n"
    run(["nix-store", "--store", store.root, *QUIET, "--load-db"], stdin=entry.encode())
    return StorePath(name)


def test_what_is_declared_stays_though_nobody_has_deployed_it_yet(
    config: Config, path: Path, tmp_path: Path
) -> None:
    """As after an update from a version without generations."""
    system = make_system(config, tmp_path, 1)
    with opened(config) as inventory:
        inventory.systems.prepare(system)
    section = HostSection(mac=(MAC,), system=system.text)
    path.write_text(as_toml(config.model_copy(update={"hosts": {"lab1": section}})))
    assert json.loads(storeboot(path, "gc", "--keep", 0, "--json"))["freed"] == []
    assert exists(config, system)


def test_views_of_another_server_are_left_alone(config: Config, path: Path, tmp_path: Path) -> None:
    """A server that takes an address over has their descriptions, and no roots."""
    system = make_system(config, tmp_path, 1)
    with opened(config) as inventory:
        view = inventory.systems.prepare(system).view.view_id
    (config.server.state_directory / "roots" / view).unlink()
    assert json.loads(storeboot(path, "gc", "--json"))["freed"] == []
    assert (config.server.state_directory / "views" / f"{view}.json").exists()
    assert exists(config, system)


def test_hosts_that_mount_by_alias_keep_what_they_had(
    config: Config, path: Path, tmp_path: Path
) -> None:
    one, two = (make_system(config, tmp_path, number) for number in (1, 2))
    for system in (one, two):
        storeboot(path, "deploy", "lab1", system)
    text = path.read_text().replace("[nfs]", "[nfs]\nalias = true")
    path.write_text(text + 'address = ["192.168.1.9"]\n')
    storeboot(path, "gc", "--keep", 0)
    assert exists(config, one)


def test_time_without_the_server_ends_no_lease(config: Config, tmp_path: Path) -> None:
    system = make_system(config, tmp_path, 1)
    now = time.time()
    with opened(config) as inventory:
        boot = lease(inventory, system, 1, began_at=now - 30 * DAY, seen_at=now - 30 * DAY)
        assert inventory.leases(now) == []
        inventory.state.serving.note()
        os.utime(config.server.state_directory / "serving", (now - 29 * DAY, now - 29 * DAY))
        assert inventory.leases(now) == [boot]
        inventory.resume(now)
        (held,) = inventory.leases(now)
        assert held.seen_at == pytest.approx(now - DAY, abs=1)


def test_gc_leaves_alone_what_other_roots_hold(config: Config, path: Path, tmp_path: Path) -> None:
    one, two = (make_system(config, tmp_path, number) for number in (1, 2))
    for system in (one, two):
        storeboot(path, "deploy", "lab1", system)
    Store(config.store.root).add_root(tmp_path / "root-of-mine", one)
    document = json.loads(storeboot(path, "gc", "--keep", 0, "--json"))
    assert (document["freed"], document["alive"]) == ([], [one.text])
    assert exists(config, one)
    with pytest.raises(CommandError, match="alive"):
        Store(config.store.root).delete([one.text])
