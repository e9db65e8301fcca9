"""The alias shows a machine what it boots, whatever is deployed, rolled back or chosen then."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path

import pytest

from integration.booting_room import OTHER, OWN, asking, serving
from integration.deploying import Machine, make_system, storeboot
from integration.nfs_client import NfsClient
from storeboot import config as configuration
from storeboot.config import Config
from storeboot.deploy.given import BOOTING, Given, GivenViews
from storeboot.deploy.inventory import opened
from storeboot.nfs.views import view_id
from storeboot.nix.store import StorePath
from storeboot.service.alias import alias_of


@pytest.fixture(params=[0, 2], ids=["alone", "workers"])
def path(path: Path, request: pytest.FixtureRequest) -> Path:
    """A configuration whose host mounts through the alias, from its own address."""
    text = path.read_text()
    text = text.replace("[nfs]", f"[nfs]\nalias = true\nworkers = {request.param}")
    path.write_text(text + f'address = ["{OWN}"]\n')
    return path


@pytest.fixture
def systems(config: Config, path: Path, tmp_path: Path) -> tuple[StorePath, StorePath]:
    """Two generations; the second one boots next."""
    one, two = (make_system(config, tmp_path, number) for number in (1, 2))
    for system in (one, two):
        storeboot(path, "deploy", "lab1", system)
    return one, two


Two = tuple[StorePath, StorePath]


async def test_a_deployment_between_script_and_mount(
    config: Config, path: Path, tmp_path: Path, systems: Two
) -> None:
    three = make_system(config, tmp_path, 3)
    async with serving(path) as room:
        assert await room.script() == systems[1].text
        await room.run("deploy", "lab1", three)
        assert await room.shows() == systems[1].text
        await room.initrd(systems[1])
        assert await room.shows() == systems[1].text
        assert await room.script() == three.text
        assert await room.shows() == three.text


async def test_a_roll_back_between_script_and_mount(path: Path, systems: Two) -> None:
    async with serving(path) as room:
        assert await room.script() == systems[1].text
        await room.run("rollback", "lab1")
        assert await room.shows() == systems[1].text
        assert await room.script() == systems[0].text
        assert await room.shows() == systems[0].text


async def test_a_choice_in_the_menu_is_for_one_boot(path: Path, systems: Two) -> None:
    async with serving(path) as room:
        assert await room.script() == systems[1].text
        assert await room.script(choice="1") == systems[0].text
        assert await room.shows() == systems[0].text
        assert await room.script() == systems[1].text
        assert await room.shows() == systems[1].text


async def test_a_test_whose_boot_has_begun(
    config: Config, path: Path, tmp_path: Path, systems: Two
) -> None:
    """The tested system is what the machine boots; what it boots next is the one before."""
    three = make_system(config, tmp_path, 3)
    async with serving(path) as room:
        await room.run("deploy", "lab1", three, "--test")
        assert await room.script() == three.text
        async with asking(room.running, OWN) as http:
            await Machine(http).begin(three)
        assert await room.shows() == three.text
        assert await room.script() == systems[1].text
        assert await room.shows() == systems[1].text


async def test_a_restart_of_the_server_between_script_and_mount(path: Path, systems: Two) -> None:
    async with serving(path) as room:
        assert await room.script(choice="1") == systems[0].text
    async with serving(path) as room:
        assert await room.shows() == systems[0].text
        await room.running.use(configuration.load(path))
        assert await room.shows() == systems[0].text


async def test_a_running_machine_keeps_what_it_has_mounted(path: Path, systems: Two) -> None:
    async with serving(path) as room:
        await room.script(choice="1")
        port = room.running.service.config.nfs.port
        with await asyncio.to_thread(NfsClient, port, source=OWN) as client:
            root = await asyncio.to_thread(client.mount, "/nixstore")
            assert root is not None
            await room.script()
            name = systems[0].base_name.encode()
            assert await asyncio.to_thread(client.lookup, root, name) is not None
        with await asyncio.to_thread(NfsClient, port, source=OWN) as client:
            assert await asyncio.to_thread(client.lookup, root, name) is not None


async def test_somebody_elses_question_does_not_disturb_a_boot(path: Path, systems: Two) -> None:
    async with serving(path) as room:
        assert await room.script() == systems[1].text
        assert await room.script(OTHER, choice="1") == systems[0].text
        assert await room.shows() == systems[1].text
        await room.initrd(systems[0], OTHER)
        assert await room.shows() == systems[1].text


async def test_a_machine_that_has_another_address_until_its_initrd_runs(
    path: Path, systems: Two
) -> None:
    """The firmware's address is from a pool, the initrd's own on the kernel's command line."""
    async with serving(path) as room:
        assert await room.script(OTHER, choice="1") == systems[0].text
        assert await room.shows() == systems[0].text


async def test_a_boot_goes_on_if_the_disk_cannot_be_written(path: Path, systems: Two) -> None:
    async with serving(path) as room:
        room.running.service.state.path.joinpath("given").write_text("in the way")
        assert await room.script(choice="1") == systems[0].text
        assert await room.shows() == systems[0].text
        room.running.service.state.path.joinpath("given").unlink()
        assert await room.script(choice="1") == systems[0].text
    async with serving(path) as room:
        assert await room.shows() == systems[0].text


def view(number: int) -> str:
    return f"{number:032x}"


def test_what_was_given_to_a_host(tmp_path: Path) -> None:
    """Without a clock of its own: who asks when, and what holds for how long."""
    views = GivenViews(tmp_path)
    views.note("lab1", Given(view(1), 0.0, is_own=True))
    views.note("lab1", Given(view(2), BOOTING, is_own=False))
    assert views.of("lab1") == Given(view(1), 0.0, is_own=True)
    views.note("lab1", Given(view(2), BOOTING + 1, is_own=False))
    found = views.of("lab1")
    assert found is not None
    assert found.view == view(2)
    assert found.holds(2 * BOOTING)
    assert not found.holds(3 * BOOTING)
    views.note("lab1", Given(view(2), BOOTING + 2, is_own=False, is_fetched=True))
    again = GivenViews(tmp_path).of("lab1")
    assert again is not None
    assert again.view == view(2)
    assert again.holds(9 * BOOTING)
    views.forget("lab1")
    assert views.of("lab1") is None
    assert not list(tmp_path.iterdir())


def test_a_room_that_boots_the_same_again_writes_nothing(tmp_path: Path) -> None:
    views = GivenViews(tmp_path)
    views.note("lab1", Given(view(1), 0.0, is_own=True))
    (file,) = tmp_path.iterdir()
    file.unlink()
    views.note("lab1", Given(view(1), 100.0, is_own=True, is_fetched=True))
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("text", ["", "[]", '{"view": "../x"}', '{"view": 1}', "\xff"])
def test_a_damaged_file_counts_as_nothing(tmp_path: Path, text: str) -> None:
    (tmp_path / "lab1.json").write_text(text, encoding="latin-1")
    assert GivenViews(tmp_path).of("lab1") is None


def test_a_host_that_was_given_nothing_has_what_it_boots_next(path: Path, systems: Two) -> None:
    """Its machine gets kernel and initrd from elsewhere. A question by somebody else, long ago,
    changes nothing for it."""
    with opened(configuration.load(path)) as inventory:
        assert alias_of(inventory, OWN) == view_id([systems[1].text])
        other = view_id([systems[0].text])
        inventory.state.given.note("lab1", Given(other.hex(), 0.0, is_own=False))
        assert alias_of(inventory, OWN, BOOTING) == other
        assert alias_of(inventory, OWN, BOOTING + 1) == view_id([systems[1].text])
        inventory.state.given.note("lab1", Given("0" * 32, 0.0, is_own=True))
        assert alias_of(inventory, OWN) == view_id([systems[1].text])  # a view that is gone


def test_a_host_that_boots_a_specialisation(config: Config, path: Path, tmp_path: Path) -> None:
    special = make_system(config, tmp_path, 1)
    storeboot(path, "deploy", "lab1", make_system(config, tmp_path, 2, gaming=special))
    path.write_text(path.read_text() + 'specialisation = "gaming"\n')
    with opened(configuration.load(path)) as inventory:
        assert alias_of(inventory, OWN) == view_id([special.text])


def test_what_is_kept_of_it(path: Path, systems: Two) -> None:
    with opened(configuration.load(path)) as inventory:
        given = Given(view_id([systems[0].text]).hex(), 7.0, is_own=True)
        inventory.state.given.note("lab1", given)
        file = inventory.state.path / "given/lab1.json"
        assert json.loads(file.read_text())["view"] == given.view
