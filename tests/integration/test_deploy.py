"""Hosts and generations, on a real Nix store and through the commands."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path

import aiohttp
import pytest

from integration.deploying import (
    STOREBOOT,
    WAIT,
    collect_garbage,
    exists,
    generations,
    killed_at,
    make_system,
    storeboot,
)
from integration.servers import MAC
from integration.stores import add, toplevel_tree
from integration.test_cli import fails
from storeboot import faults
from storeboot.config import Config, HostSection, MachinesSection
from storeboot.deploy.inventory import opened
from storeboot.nfs.views import view_id
from storeboot.nix.store import Store, StorePath
from storeboot.process import Child
from storeboot.serve import server


def test_deploy_rollback_and_generations(config: Config, path: Path, tmp_path: Path) -> None:
    one, two = (make_system(config, tmp_path, number) for number in (1, 2))
    storeboot(path, "deploy", "lab1", one, "--dry-run")
    assert generations(path) == []
    storeboot(path, "deploy", "lab1", one)
    link = tmp_path / "result"
    link.symlink_to(two.text)
    storeboot(path, "deploy", "lab1", link)
    assert generations(path) == [(1, one.text, False), (2, two.text, True)]
    storeboot(path, "rollback", "lab1", "--dry-run")
    assert generations(path)[1][2]
    storeboot(path, "rollback", "lab1")
    assert generations(path) == [(1, one.text, True), (2, two.text, False)]
    storeboot(path, "rollback", "lab1", "--generation", 2)
    assert generations(path)[1][2]
    collect_garbage(config)
    assert exists(config, one)
    assert exists(config, two)


async def test_what_a_rule_warns_of_is_said_and_deployed(
    config: Config, path: Path, tmp_path: Path
) -> None:
    tree = toplevel_tree(tmp_path / "optimises")
    units = tree / "etc/systemd/system"
    (units / "timers.target.wants").mkdir(parents=True)
    (units / "nix-optimise.timer").write_text("[Timer]\nOnCalendar=03:45\n")
    (units / "timers.target.wants/nix-optimise.timer").symlink_to("../nix-optimise.timer")
    optimises = add(Store(config.store.root), tree)
    for system, is_warned in ((make_system(config, tmp_path, 1), False), (optimises, True)):
        output = tmp_path / "output"
        child = await Child.start([STOREBOOT, "deploy", "lab1", system.text, "-c", path],
                                  output=output)  # fmt: skip
        assert await child.wait() == 0
        said = [line for line in output.read_text().splitlines() if '"warning"' in line]
        assert [json.loads(line)["id"] for line in said] == ["client-optimise-timer"] * is_warned
    assert generations(path)[-1][1:] == (optimises.text, True)


async def test_commands_that_race_make_generations_one_after_the_other(
    config: Config, path: Path, tmp_path: Path
) -> None:
    systems = [make_system(config, tmp_path, number) for number in range(4)]
    await asyncio.gather(
        *[asyncio.to_thread(storeboot, path, "deploy", "lab1", each) for each in systems]
    )
    made = generations(path)
    assert [number for number, _, _ in made] == [1, 2, 3, 4]
    assert {system for _, system, _ in made} == {each.text for each in systems}
    assert [is_next for _, _, is_next in made] == [False, False, False, True]


def test_rollback_passes_over_what_has_failed_its_test(
    config: Config, path: Path, tmp_path: Path
) -> None:
    one, two, three = (make_system(config, tmp_path, number) for number in (1, 2, 3))
    storeboot(path, "deploy", "lab1", one)
    storeboot(path, "deploy", "--test", "lab1", two, WAIT)
    storeboot(path, "deploy", "lab1", three)
    storeboot(path, "rollback", "lab1")
    assert generations(path)[0] == (1, one.text, True)


async def test_wrong_deployments_end_in_two_lines(path: Path, tmp_path: Path) -> None:
    for words, said in (
        (("deploy", "lab9", "/nix/store/x"), "is not a store path"),
        (("deploy", "lab9", f"/nix/store/{'0' * 32}-x"), "no host or group with hosts 'lab9'"),
        (("deploy", "lab1", f"/nix/store/{'0' * 32}-x"), "does not exist"),
        (("rollback", "lab1"), "no generation before the current one"),
        (("rollback", "lab1", "--generation", "7"), "has no generation 7"),
        (("host", "remove", "lab1"), "is declared in the configuration"),
        (("host", "add", "lab2", "--mac", MAC), "belongs to both 'lab1' and 'lab2'"),
    ):
        assert said in await fails(tmp_path, *words, "--config", path)


def test_hosts_by_command(config: Config, path: Path, tmp_path: Path) -> None:
    system = make_system(config, tmp_path, 1)
    table = tmp_path / "hosts.csv"
    table.write_text(
        "name,mac,kernel_params\nlab2,52:54:00:00:00:02,quiet splash\nlab3,52:54:00:00:00:03,\n"
    )
    storeboot(path, "host", "add", "--csv", table, "--system", system)
    rows = {row["name"]: row for row in json.loads(storeboot(path, "host", "list", "--json"))}
    assert [rows[name]["from"] for name in sorted(rows)] == ["configuration", "command", "command"]
    assert rows["lab2"]["kernel_params"] == ["quiet", "splash"]
    assert rows["lab3"]["system"] == system.text
    storeboot(path, "host", "set", "lab2", "--overlay-size", "8G", "--unset", "kernel-params")
    shown = json.loads(storeboot(path, "host", "show", "lab2", "--json"))
    assert (shown["overlay_size"], shown["kernel_params"]) == ("8G", [])
    answer = json.loads(
        storeboot(path, "host", "whois", "--mac", "52-54-00-00-00-02",
                  "--serial", "Default string", "--json")
    )  # fmt: skip
    assert answer == {"host": "lab2", "because": ["52:54:00:00:00:02"],
                      "ignored": ["Default string"], "system": system.text}  # fmt: skip
    storeboot(path, "host", "remove", "lab2")
    assert "lab2" not in storeboot(path, "host", "list")


async def test_serve_gives_what_was_deployed_meanwhile(
    config: Config, path: Path, tmp_path: Path
) -> None:
    one, two = (make_system(config, tmp_path, number) for number in (1, 2))
    async with (
        server.running(config) as running,
        aiohttp.ClientSession(running.service.url) as http,
    ):

        async def script() -> str:
            async with http.get("/boot", params={"mac": MAC}) as response:
                return await response.text()

        assert "lab1 has no system" in await script()
        for system in (one, two):
            await asyncio.to_thread(storeboot, path, "deploy", "lab1", system)
            assert f"init={system}/init" in await script()
        await asyncio.to_thread(storeboot, path, "rollback", "lab1")
        assert f"init={one}/init" in await script()
        # A machine that had its script before the change still boots: its view is kept.
        view = view_id([two.text]).hex()
        body = f"host=lab1\nview={view}\nnonce={'a' * 32}\nmac={MAC}\n"
        async with http.post("/boots", data=body) as response:
            assert response.status == 200
        async with http.get(f"/views/{view}/paths") as response:
            assert await response.text() == two.text + "\n"
        status = json.loads(await asyncio.to_thread(storeboot, path, "status", "--json"))
        assert (status["lab1"]["runs"], status["lab1"]["next"]) == (two.text, one.text)


async def test_a_boot_of_a_view_that_is_gone_is_refused(
    config: Config, path: Path, tmp_path: Path
) -> None:
    one, two = (make_system(config, tmp_path, number) for number in (1, 2))
    async with (
        server.running(config) as running,
        aiohttp.ClientSession(running.service.url) as http,
    ):
        for system in (one, two):
            await asyncio.to_thread(storeboot, path, "deploy", "lab1", system)
        await asyncio.to_thread(storeboot, path, "gc", "--keep", 0)
        view = view_id([one.text]).hex()
        body = f"host=lab1\nview={view}\nnonce={'a' * 32}\nmac={MAC}\n"
        async with http.post("/boots", data=body) as response:
            assert response.status == 403
        async with http.get(f"/views/{view}/kernel") as response:
            assert response.status == 404


def test_a_declared_system_is_deployed_once_for_each_change(config: Config, tmp_path: Path) -> None:
    one, two = (make_system(config, tmp_path, number) for number in (1, 2))

    def declared(system: StorePath) -> Config:
        section = HostSection(mac=(MAC,), system=system.text)
        return config.model_copy(update={"hosts": {"lab1": section}})

    def start(given: Config) -> list[str]:
        with opened(given) as inventory:
            host = inventory.registry.require("lab1")
            inventory.deployments.declare(host, inventory.url, print)
            made = inventory.deployments.generations("lab1")
            return [each.system.text for each in made if each.current]

    assert start(declared(one)) == [one.text]
    with opened(config) as inventory:
        host = inventory.registry.require("lab1")
        inventory.deployments.deploy(host, two, inventory.url, print)
    assert start(declared(one)) == [two.text]  # what was deployed since stays
    assert start(declared(two)) == [two.text]
    assert start(declared(one)) == [one.text]  # the configuration has changed


async def test_csv_files_that_are_none_are_refused(path: Path, tmp_path: Path) -> None:
    for data, said in (
        (b"name,mac\nlab2,52:54:00:00:00:02,more\n", "line 2: more fields than columns"),
        (b"name,mac\nlab2,\xff\n", "line 2: not UTF-8"),
        (b"name,mac\n,52:54:00:00:00:02\n", "line 2: the host has no name"),
        (b"name,serial\nlab2,S1\nlab2,T2\n", "line 3: 'lab2' is already on line 2"),
    ):
        (tmp_path / "hosts.csv").write_bytes(data)
        assert said in await fails(
            tmp_path, "host", "add", "--csv", tmp_path / "hosts.csv", "--config", path
        )


async def test_machines_that_are_no_hosts_can_be_adopted(
    config: Config, path: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("storeboot.hosts.unknown.MAX_UNKNOWN", 3)
    system = make_system(config, tmp_path, 1)
    registering = config.model_copy(update={"machines": MachinesSection(unknown="register")})
    async with (
        server.running(registering) as running,
        aiohttp.ClientSession(running.service.url) as http,
    ):
        for mac in ("nonsense", *(f"52:54:00:00:01:0{digit}" for digit in (1, 2, 3, 1, 4))):
            async with http.get("/boot", params={"mac": mac, "uuid": "U" * 500}) as response:
                assert "no host has mac" in await response.text()
        listed = ("host", "list", "--unknown", "--json")
        rows = json.loads(await asyncio.to_thread(storeboot, path, *listed))
        assert [row["mac"][-1] for row in rows] == ["4", "1", "3"]
        words = ("host", "adopt", "52-54-00-00-01-04", "lab4", "--system", system)
        await asyncio.to_thread(storeboot, path, *words)
        async with http.get("/boot", params={"mac": "52:54:00:00:01:04"}) as response:
            assert f"init={system}/init" in await response.text()
    assert len(json.loads(storeboot(path, *listed))) == 2
    said = await fails(tmp_path, "host", "adopt", "52:54:00:00:01:02", "x", "--config", path)
    assert "no unknown machine has the MAC address" in said


@pytest.mark.parametrize("point", [each for each in faults.POINTS if each.startswith("view.r")
                                   or each.startswith("deploy.")])  # fmt: skip
async def test_deploy_killed_at_any_point_is_done_or_not(
    config: Config, path: Path, tmp_path: Path, point: str
) -> None:
    one, two = (make_system(config, tmp_path, number) for number in (1, 2))
    await asyncio.to_thread(storeboot, path, "deploy", "lab1", one)
    await killed_at(point, path, "deploy", "lab1", two)
    (current,) = [system for _, system, is_next in generations(path) if is_next]
    assert current == (two if point == "deploy.switched" else one).text
    await asyncio.to_thread(collect_garbage, config)
    assert all(exists(config, StorePath(system)) for _, system, _ in generations(path))
    if exists(config, two):  # else nothing of it had been promised
        await asyncio.to_thread(storeboot, path, "deploy", "lab1", two)
        assert (2, two.text, True) in generations(path)
