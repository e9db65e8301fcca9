"""Machines boot while the state directory's disk takes nothing more."""

from __future__ import annotations

import asyncio
import errno
import os
from collections.abc import AsyncIterator, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import pytest
from typing_extensions import override

from integration.daemons import Served, serving, until
from integration.servers import MAC, as_toml, make_config
from storeboot import files
from storeboot.config import Config
from storeboot.nix.store import StorePath
from storeboot.process import run

SIZE = "48M"


class Disk:
    """A file system of its own for the state directory, and how it fails."""

    def __init__(self, place: Path) -> None:
        self.place = place

    def mount(self) -> None:
        raise NotImplementedError

    def fail(self) -> None:
        raise NotImplementedError

    def mend(self) -> None:
        raise NotImplementedError


class Full(Disk):
    """A tmpfs without room."""

    @override
    def mount(self) -> None:
        run(["mount", "-t", "tmpfs", "-o", f"size={SIZE},mode=0755", "tmpfs", self.place])

    @override
    def fail(self) -> None:
        """Somebody else writes until there is no byte left."""
        with (self.place / "somebody-elses").open("wb", buffering=0) as stream:
            for size in (1 << 20, 4096, 512):
                while _write(stream.fileno(), b"\xa5" * size):
                    pass

    @override
    def mend(self) -> None:
        (self.place / "somebody-elses").unlink()


def _write(descriptor: int, data: bytes) -> bool:
    try:
        return os.write(descriptor, data) > 0
    except OSError as error:
        if error.errno != errno.ENOSPC:
            raise
        return False


class ReadOnly(Disk):
    """An ext4 that the kernel makes read-only because it does not trust it any more."""

    @override
    def mount(self) -> None:
        image = self.place.with_name("image")
        run(["truncate", "-s", SIZE, image])
        run(["mkfs.ext4", "-q", image])
        run(["mount", "-o", "loop", image, self.place])

    @override
    def fail(self) -> None:
        run(["mount", "-o", "remount,abort", self.place])

    @override
    def mend(self) -> None:
        """Only a new mount does; a server that is started again finds it."""


@contextmanager
def mounted(disk: Disk) -> Iterator[None]:
    disk.place.mkdir()
    disk.mount()
    try:
        yield
    finally:
        with suppress(Exception):
            run(["umount", "--lazy", disk.place])


class Lab:
    """A host with a system, whose state is on a disk that will fail."""

    def __init__(self, directory: Path, disk: Disk) -> None:
        self.disk = disk
        self.config: Config = make_config(directory)
        self.path = directory / "storeboot.toml"
        self.path.write_text(as_toml(self.config))
        self.system = StorePath(str(self.config.hosts["lab1"].system))


@pytest.fixture(params=[Full, ReadOnly], ids=lambda kind: kind.__name__.lower())
def lab(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Lab]:
    disk: Disk = request.param(tmp_path / "state")
    with mounted(disk):
        yield Lab(tmp_path, disk)


async def boots(lab: Lab, served: Served, nonce: str) -> dict[str, str]:
    boot = await served.boot("lab1", MAC, lab.system, nonce)
    await served.tell(boot, "heartbeat")
    await served.answers_nfs()
    return boot


@pytest.mark.timeout(180)
async def test_machines_boot_under_a_running_server(lab: Lab) -> None:
    async with serving(lab.config, lab.path) as served:
        await served.boot("lab1", MAC, lab.system, "0")  # its ssh key is made
        await until(served.is_well)
        await asyncio.to_thread(lab.disk.fail)
        boot = await boots(lab, served, "a")
        found = await served.health()
        assert found["waiting"]["boots"] == 1
        assert found["database"]
        status, reason = await report(served, boot)
        assert status == 507, reason
        await asyncio.to_thread(lab.disk.mend)
        if isinstance(lab.disk, Full):
            await until(served.is_well, 60)
            assert (await served.health())["lost"] == {}
            assert '"multi-user"' in await served.command("status", "--json")


async def report(served: Served, boot: dict[str, str]) -> tuple[int, bytes]:
    headers = {"Authorization": f"Bearer {boot['key']}"}
    url = f"/boots/{boot['boot']}/reports/facts"
    return await served.post(url, data=b"x" * 100_000, headers=headers)


@pytest.mark.timeout(180)
async def test_a_report_for_which_the_room_ends_on_the_way_leaves_nothing(tmp_path: Path) -> None:
    disk = Full(tmp_path / "state")
    with mounted(disk):
        lab = Lab(tmp_path, disk)
        async with serving(lab.config, lab.path) as served:
            boot = await served.boot("lab1", MAC, lab.system, "0")
            reports = disk.place / "reports"
            before = set(reports.rglob("*"))
            rest = [bytes(256 << 10)] * 3

            async def is_written() -> bool:
                return any(files.is_partial(each) for each in reports.rglob("*"))

            async def is_as_before() -> bool:
                return set(reports.rglob("*")) == before

            async def body() -> AsyncIterator[bytes]:
                yield b"x"
                await until(is_written)
                await asyncio.to_thread(disk.fail)
                for piece in rest:
                    yield piece

            size = 1 + sum(map(len, rest))
            headers = {"Authorization": f"Bearer {boot['key']}", "Content-Length": str(size)}
            url = f"/boots/{boot['boot']}/reports/facts"
            status, reason = await served.post(url, data=body(), headers=headers)
            assert status == 507, reason
            await until(is_as_before)  # it is swept after the answer


@pytest.mark.timeout(180)
async def test_a_server_starts_on_it(lab: Lab) -> None:
    async with serving(lab.config, lab.path) as served:
        await served.boot("lab1", MAC, lab.system, "0")
        await until(served.is_well)
    await asyncio.to_thread(lab.disk.fail)
    async with serving(lab.config, lab.path) as served:
        await boots(lab, served, "a")
        assert (await served.health())["waiting"]["boots"] == 1


@pytest.mark.timeout(180)
async def test_a_disk_that_is_nearly_full_is_said_early(tmp_path: Path) -> None:
    disk = Full(tmp_path / "state")
    with mounted(disk):
        lab = Lab(tmp_path, disk)
        async with serving(lab.config, lab.path) as served:
            assert "are left on the disk" in str((await served.health())["disk"])
            assert "disk.low" in await asyncio.to_thread(served.output.read_text)
            shown = await served.command("status", "--json")
            assert "are left on the disk" in shown
