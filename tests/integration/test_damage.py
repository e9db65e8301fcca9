"""Files of the state directory that are damaged, lost or none of ours, and what goes on then."""

from __future__ import annotations

import asyncio
import contextlib
import gzip
import hashlib
import json
import os
import secrets
import shutil
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

import aiohttp
import click
import pytest
from click.testing import CliRunner
from structlog.testing import capture_logs

from integration.deploying import Machine, lease, make_system
from integration.nfs_client import NfsClient
from integration.servers import MAC, as_toml, make_config
from storeboot.cli.main import cli
from storeboot.config import Config, HostSection
from storeboot.deploy.inventory import opened
from storeboot.deploy.state import StateDirectory, make_state_directory
from storeboot.errors import StorebootError
from storeboot.nfs.views import view_id
from storeboot.nix.store import Store, StorePath
from storeboot.serve import server

MACS = {"lab1": MAC, "lab2": "52:54:00:00:00:02"}


def view_of(system: StorePath) -> str:
    return view_id([system.text]).hex()


@dataclass
class Room:
    """Two hosts that were each given a system."""

    config: Config
    file: Path
    systems: dict[str, StorePath]
    whole: dict[str, bytes] = field(default_factory=dict)  # initrds, as they were made
    strays: list[str] = field(default_factory=list)  # that the server has named at its start

    @property
    def state(self) -> Path:
        return self.config.server.state_directory

    def command(self, *words: object, status: int = 0) -> str:
        """What a command says, without its warnings. The log stays as the tests have set it up."""
        name, *arguments = map(str, words)
        command = cli.get_command(click.Context(cli), name)
        assert command is not None
        done = CliRunner().invoke(command, [*arguments, "--config", str(self.file)])
        assert done.exit_code == status, (words, done.output, done.exception)
        return done.stdout

    def status(self) -> dict[str, list[str]]:
        """What is damaged, by host."""
        rows = json.loads(self.command("status", "--json"))
        hosts = {name: row for name, row in rows.items() if row and "damaged" in row}
        return {name: row["damaged"] for name, row in hosts.items() if row["damaged"]}

    async def boot(self, http: aiohttp.ClientSession, host: str) -> None:
        """All that a machine gets is what it should be."""
        system = self.systems[host]
        machine = Machine(http, host, MACS[host])
        assert f"init={system}/init" in await machine.script()

        async def get(name: str) -> bytes:
            async with http.get(f"/views/{view_of(system)}/{name}") as response:
                assert response.status == 200, f"{name}: {response.reason}"
                return await response.read()

        (initrd,) = [data for name, data in self.whole.items() if name.endswith(f"{host}.img")]
        assert await get(f"initrd?host={host}") == initrd
        assert gzip.decompress(await get("database")).startswith(b"SQLite format 3")
        begun = await machine.begin(system, nonce=secrets.token_hex(16))
        pack = await get(f"pack/{begun['pack']}")
        assert hashlib.sha256(pack).hexdigest() == begun["pack_sha256"]
        await asyncio.to_thread(self._mount, begun["token"], system)

    def _mount(self, token: str, system: StorePath) -> None:
        with NfsClient(self.config.nfs.port) as nfs:
            root = nfs.mount(f"/view/{token}")
            assert root is not None
            assert nfs.lookup(root, system.base_name.encode()) is not None

    async def serve_and_boot(self, *hosts: str) -> list[str]:
        """The server starts and these hosts boot; what it has logged as errors."""
        with capture_logs() as said:
            async with (
                server.running(self.config) as running,
                aiohttp.ClientSession(running.service.url) as http,
            ):
                for host in hosts or self.systems:
                    await self.boot(http, host)
        self.strays = sorted(each["file"] for each in said if each["event"] == "state.stray")
        return [str(each) for each in said if each["log_level"] == "error"]


def make_room(directory: Path) -> Room:
    base = make_config(directory)
    hosts = {name: HostSection(mac=(mac,)) for name, mac in MACS.items()}
    config = base.model_copy(update={"hosts": hosts})
    file = directory / "storeboot.toml"
    file.write_text(as_toml(config) + f'[hosts.lab2]\nmac = ["{MACS["lab2"]}"]\n')
    systems = {name: make_system(config, directory, i) for i, name in enumerate(MACS)}
    room = Room(config, file, systems)
    for name, system in systems.items():
        room.command("deploy", name, system)
        for image in (room.state / "initrds").glob("*.img"):
            facts = json.loads(image.with_suffix(".json").read_text())
            if facts["system"] == system.text:
                room.whole[f"{name}.img"] = image.read_bytes()
    return room


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Room:
    """For tests after which everything is whole again."""
    return make_room(tmp_path_factory.mktemp("shared"))


@pytest.fixture
def room(tmp_path: Path) -> Room:
    return make_room(tmp_path)


def empty(file: Path) -> None:
    os.truncate(file, 0)


def cut(file: Path) -> None:
    os.truncate(file, file.stat().st_size // 2)


def change(file: Path) -> None:
    data = bytearray(file.read_bytes())
    data[len(data) // 2] ^= 1
    file.write_bytes(data)


def lose(file: Path) -> None:
    file.unlink()


def derived(room: Room) -> dict[str, Path]:
    """One file of each kind that can be made again, of host lab1."""
    view = view_of(room.systems["lab1"])
    packs, initrds = room.state / "packs", room.state / "initrds"
    made = [file for file in packs.glob("*.json") if json.loads(file.read_text())["view"] == view]
    pack = max(made, key=lambda file: file.stat().st_mtime)
    (initrd,) = [
        file
        for file in initrds.glob("*.json")
        if json.loads(file.read_text())["system"] == room.systems["lab1"].text
    ]
    return {
        "view": room.state / "views" / f"{view}.json",
        "initrd": initrd.with_suffix(".img"),
        "initrd's facts": initrd,
        "pack": pack.with_suffix(".squashfs"),
        "pack's facts": pack,
        "pack's list": pack.with_suffix(".hot"),
        "hot list": room.state / "hot" / f"{view}.json",
        "database": room.state / "databases" / f"{view}.gz",
        "garbage": room.state / "garbage.json",
    }


KINDS = ("view", "initrd", "initrd's facts", "pack", "pack's facts", "pack's list", "hot list",
         "database", "garbage")  # fmt: skip


@pytest.mark.parametrize("damage", [empty, cut, change, lose])
@pytest.mark.parametrize("kind", KINDS)
async def test_what_can_be_made_again_is_and_nobody_notices(
    shared: Room, kind: str, damage: Callable[[Path], None]
) -> None:
    files = derived(shared)
    for name in ("hot list", "garbage"):
        files[name].parent.mkdir(exist_ok=True)
    files["hot list"].write_text(json.dumps({f"{shared.systems['lab1'].base_name}/init": 0.5}))
    files["garbage"].write_text(json.dumps({f"/nix/store/{'0' * 32}-gone": [1, []]}))
    shared.command("pack", "build", shared.systems["lab1"])
    files = derived(shared)

    damage(files[kind])
    assert await shared.serve_and_boot() == []
    assert shared.status() == {}

    if kind not in ("hot list", "garbage"):
        damage(derived(shared)[kind])
    shared.command("deploy", "lab2", shared.systems["lab2"])
    shared.command("deploy", "lab1", shared.systems["lab1"])
    assert json.loads(shared.command("gc", "--json"))["freed"] == []
    assert shared.status() == {}
    assert await shared.serve_and_boot() == []


def select_what_is_lost(state: Path) -> Path:
    link = state / "profiles" / "lab1" / "system"
    link.unlink()
    link.symlink_to("system-7-link")
    return link


def select_a_file(state: Path) -> Path:
    link = state / "profiles" / "lab1" / "system"
    link.unlink()
    link.write_text("")
    return link


def empty_a_generation(state: Path) -> Path:
    link = state / "profiles" / "lab1" / "system-1-link"
    link.unlink()
    link.write_text("")
    return link


def make_a_file_of_the_profile(state: Path) -> Path:
    place = state / "profiles" / "lab1"
    shutil.rmtree(place)
    place.write_text("")
    return place


@pytest.mark.parametrize(
    "damage",
    [select_what_is_lost, select_a_file, empty_a_generation, make_a_file_of_the_profile],
)
async def test_a_damaged_profile_is_named_and_is_its_own_hosts_alone(
    room: Room, tmp_path: Path, damage: Callable[[Path], Path]
) -> None:
    three = make_system(room.config, tmp_path, 3)
    room.command("deploy", "lab2", three)
    place = damage(room.state)
    found = room.status()
    assert list(found) == ["lab1"]
    assert any(str(place) in words for words in found["lab1"])
    room.systems["lab2"] = three
    room.whole["lab2.img"] = initrd_of(room, three)
    await room.serve_and_boot("lab2")
    assert str(place) in await refusal(room, "lab1")
    four = make_system(room.config, tmp_path, 4)
    room.command("deploy", "lab2", four)
    # What cannot be read may need any view, so none is dropped, and no path is freed.
    document = json.loads(room.command("gc", "--keep", 0, "--json"))
    assert document["freed"] == []
    assert any(str(place) in words for words in document["damaged"])
    assert [each["host"] for each in document["removed"]] == ["lab2", "lab2"]
    for system in (*room.systems.values(), three, four):
        assert Store(room.config.store.root).physical(system).exists()


async def refusal(room: Room, host: str) -> str:
    """What the machine of a host that cannot boot has on its console."""
    async with (
        server.running(room.config) as running,
        aiohttp.ClientSession(running.service.url) as http,
    ):
        return await Machine(http, host, MACS[host]).script()


def initrd_of(room: Room, system: StorePath) -> bytes:
    for facts in (room.state / "initrds").glob("*.json"):
        if json.loads(facts.read_text())["system"] == system.text:
            return facts.with_suffix(".img").read_bytes()
    raise AssertionError(f"no initrd of {system}")


async def test_a_view_that_cannot_be_made_again_is_named_and_keeps_everything(
    room: Room, tmp_path: Path
) -> None:
    """Its root is lost as well, and a machine runs it."""
    one, two = room.systems["lab1"], make_system(room.config, tmp_path, 2)
    with opened(room.config) as inventory:
        lease(inventory, one, 1)
    room.command("deploy", "lab1", two)
    view = room.state / "views" / f"{view_of(one)}.json"
    empty(view)
    (room.state / "roots" / view.stem).unlink()
    assert room.status() == {"lab1": [f"{view} is damaged"]}
    await room.serve_and_boot("lab2")
    room.command("deploy", "lab2", two)
    document = json.loads(room.command("gc", "--keep", 0, "--json"))
    assert (document["freed"], document["damaged"]) == ([], [f"{view} is damaged"])
    assert Store(room.config.store.root).physical(one).exists()
    assert view.exists()


async def test_a_view_that_a_machine_runs_is_made_again_from_its_root(
    room: Room, tmp_path: Path
) -> None:
    one, two = room.systems["lab1"], make_system(room.config, tmp_path, 2)
    with opened(room.config) as inventory:
        lease(inventory, one, 1)
    room.command("deploy", "lab1", two)
    view = room.state / "views" / f"{view_of(one)}.json"
    whole = view.read_bytes()
    cut(view)
    async with server.running(room.config):
        assert view.read_bytes() == whole
        cut(view)  # under the running server, before anybody has mounted it
        with opened(room.config) as inventory:
            record = inventory.state.views.mended(inventory.systems.store, view.stem)
        assert record is not None
        assert view.read_bytes() == whole


async def test_a_damaged_ssh_key_is_named_and_never_made_again(room: Room) -> None:
    async with (
        server.running(room.config) as running,
        aiohttp.ClientSession(running.service.url) as http,
    ):
        machines = [Machine(http, name, mac) for name, mac in MACS.items()]
        boots = [await each.begin(room.systems[each.host]) for each in machines]

        async def ask(boot: dict[str, str]) -> int:
            url = f"/boots/{boot['boot']}/ssh-host-key"
            headers = {"Authorization": f"Bearer {boot['key']}"}
            async with http.get(url, headers=headers) as response:
                return response.status

        assert [await ask(boot) for boot in boots] == [200, 200]
        key = room.state / "ssh" / "lab1.ed25519"
        cut(key)
        short = key.read_bytes()
        assert [await ask(boot) for boot in boots] == [503, 200]
    assert room.status() == {"lab1": [f"{key} is damaged"]}
    assert key.read_bytes() == short


@pytest.mark.parametrize("size", [0, 31, 33])
def test_a_key_that_something_depends_on_is_never_made_again(room: Room, size: int) -> None:
    key = room.state / "server.key"
    key.write_bytes(b"k" * size)
    with pytest.raises(StorebootError, match=rf"server\.key has {size} bytes instead of 32"):
        StateDirectory(room.state).server_key.get()
    assert key.read_bytes() == b"k" * size


@pytest.mark.parametrize("size", [0, 31])
def test_a_key_that_was_cut_off_at_the_first_start_is_made_again(tmp_path: Path, size: int) -> None:
    (tmp_path / "server.key").write_bytes(b"k" * size)
    state = make_state_directory(tmp_path)
    made = state.server_key.get()
    assert len(made) == 32
    assert StateDirectory(tmp_path).server_key.get() == made


STRAYS = ("profiles/notes.txt", "profiles/lab1/notes.txt", "profiles/lost+found/", "views/x.json",
          "views/empty", "roots/notes", "hot/notes.json", "packs/x.json", "packs/x.squashfs",
          "initrds/notes.json", "initrds/x.img", "databases/x.gz", "locks/x")  # fmt: skip


async def test_strays_are_left_alone_and_named_once(room: Room) -> None:
    for name in STRAYS:
        place = room.state / name
        place.parent.mkdir(exist_ok=True)
        if name.endswith("/"):
            place.mkdir()
        else:
            place.write_text("")
    assert room.status() == {}
    assert await room.serve_and_boot() == []
    assert room.strays == sorted(
        str(room.state / name)
        for name in STRAYS
        if name not in ("profiles/lab1/notes.txt", "locks/x")
    )
    room.command("deploy", "lab2", room.systems["lab2"])
    assert json.loads(room.command("gc", "--keep", 0, "--json"))["damaged"] == []
    room.command("rollback", "lab1", status=1)
    assert [name for name in STRAYS if not (room.state / name).exists()] == []


async def test_what_a_killed_process_has_left_is_swept_at_the_start(room: Room) -> None:
    left = [
        room.state / name / f".{'5' * 32}.{end}.0123abcd.partial"
        for name, end in (
            ("views", "json"), ("packs", "squashfs"), ("initrds", "img"), ("reports/0b", "facts"),
        )
    ]  # fmt: skip
    (room.state / "reports" / "0b").mkdir()
    for file in left:
        file.write_text("half")
    assert await room.serve_and_boot() == []
    assert [file for file in left if file.exists()] == []


@contextlib.contextmanager
def umask(value: int) -> Iterator[None]:
    before = os.umask(value)
    try:
        yield
    finally:
        os.umask(before)


async def test_nobody_else_may_read_the_state_whatever_the_umask(tmp_path: Path) -> None:
    with umask(0):
        room = make_room(tmp_path)
        async with (
            server.running(room.config) as running,
            aiohttp.ClientSession(running.service.url) as http,
        ):
            await room.boot(http, "lab1")
            machine = Machine(http, "lab2", MACS["lab2"])
            begun = await machine.begin(room.systems["lab2"])
            key = f"/boots/{begun['boot']}/ssh-host-key"
            headers = {"Authorization": f"Bearer {begun['key']}"}
            async with http.get(key, headers=headers) as response:
                assert response.status == 200
            found = {
                str(place.relative_to(room.state)): place.stat().st_mode & 0o7777
                for place in (room.state, *room.state.rglob("*"))
                if not place.is_symlink()
            }
    wide = {name: oct(mode) for name, mode in found.items() if mode & 0o027}
    assert wide == {}
    assert {"server.key", "storeboot.sqlite", "storeboot.sqlite-wal"} <= found.keys()
    assert found["server.key"] == 0o600


def test_modes_that_an_older_version_has_given_are_narrowed(room: Room) -> None:
    for place in (room.state, *room.state.rglob("*")):
        if not place.is_symlink():
            place.chmod(0o755 if place.is_dir() else 0o644)
    with opened(room.config) as inventory:
        inventory.systems.mend()
    wide = [
        place
        for place in (room.state, *room.state.rglob("*"))
        if not place.is_symlink() and place.stat().st_mode & 0o027
    ]
    assert wide == []
