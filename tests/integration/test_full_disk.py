"""A state disk that is full or cannot be written: clean errors, and nothing half done."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import pytest

from integration.deploying import generations, make_system, storeboot
from integration.servers import MAC, as_toml, make_config
from integration.test_cli import fails
from storeboot.config import Config, HostSection, ServerSection
from storeboot.deploy.state import StateDirectory
from storeboot.deploy.systems import Systems
from storeboot.errors import StorebootError
from storeboot.hosts.host import Host
from storeboot.nix.store import Store
from storeboot.process import run


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[Path]:
    """Of its own, so that it can be full."""
    place = tmp_path / "disk"
    place.mkdir()
    run(["mount", "-t", "tmpfs", "-o", "size=24m", "none", place])
    yield place
    run(["umount", "--lazy", place])


@pytest.fixture
def config(tmp_path: Path, disk: Path) -> Config:
    made = make_config(tmp_path)
    section = ServerSection(address="127.0.0.1", state_directory=disk / "state")
    return made.model_copy(update={"server": section, "hosts": {"lab1": HostSection(mac=(MAC,))}})


@pytest.fixture
def path(config: Config, tmp_path: Path) -> Path:
    file = tmp_path / "storeboot.toml"
    file.write_text(as_toml(config))
    return file


def fill(place: Path, leave: int) -> None:
    """Leave so many bytes of the disk."""
    with (place / "filler").open("wb", buffering=0) as stream:
        with suppress(OSError):
            while True:
                stream.write(bytes(4096))
        stream.truncate(stream.tell() - leave)


def snapshot(state: Path) -> set[str]:
    """What there is but the database, and locks."""
    return {
        str(file.relative_to(state))
        for file in state.rglob("*")
        if not file.name.startswith(("storeboot.sqlite", "lock", "rollouts"))
        and "locks" not in file.parts
    }


@pytest.mark.parametrize("leave", [64 << 10, 512 << 10])
async def test_a_deploy_on_a_full_disk_fails_in_two_lines_and_changes_nothing(
    config: Config, path: Path, disk: Path, tmp_path: Path, leave: int
) -> None:
    one, two = (make_system(config, tmp_path, number) for number in (1, 2))
    await asyncio.to_thread(storeboot, path, "deploy", "lab1", one)
    before = snapshot(config.server.state_directory)
    fill(disk, leave)
    said = await fails(tmp_path, "deploy", "lab1", two, "--config", path)
    assert "No space left on device" in said
    assert generations(path) == [(1, one.text, True)]
    new = snapshot(config.server.state_directory) - before
    # The view is rooted first, and the next collection takes it back.
    assert {name.partition("/")[0] for name in new} <= {"roots", "views"}
    assert not list(config.server.state_directory.rglob("*.partial"))
    (disk / "filler").unlink()
    await asyncio.to_thread(storeboot, path, "deploy", "lab1", two)
    assert generations(path)[-1] == (2, two.text, True)


async def test_what_is_ready_needs_no_write(
    config: Config, path: Path, disk: Path, tmp_path: Path
) -> None:
    """A server that starts on a disk that is read-only serves what it has."""
    one, two = (make_system(config, tmp_path, number) for number in (1, 2))
    await asyncio.to_thread(storeboot, path, "deploy", "lab1", one)
    host = Host.from_config("lab1", config.hosts["lab1"], config)
    run(["mount", "-o", "remount,ro", disk])
    state = StateDirectory(config.server.state_directory)
    systems = Systems(config, state, Store(config.store.root), state.server_key.get())
    systems.mend()
    ready = systems.prepare(one, host)
    assert systems.get(one, host) == ready
    assert systems.packs.get(ready.view.view_id) is not None
    assert ready.initrd.is_whole()
    assert state.views.database(ready.view).exists()
    assert state.views.add(systems.store, one) == ready.view
    assert systems.of_view(ready.view.view_id) == one
    with state.locks.roots(), state.locks.host("lab1"):
        state.serving.note()
    with pytest.raises(StorebootError, match="Read-only file system"):
        systems.prepare(two, host)
