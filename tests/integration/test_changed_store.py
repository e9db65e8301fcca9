"""A store that is changed under the server: what was swapped fails alone, and is never followed."""

from __future__ import annotations

import asyncio
import os
import stat
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from structlog.testing import capture_logs

from integration.nfs_client import NFS, NfsClient
from integration.servers import make_config
from integration.test_nfs_workers import mount_path, read_tool, tool_handle, top
from nfs_codec import opaque
from storeboot.nfs.status import Status
from storeboot.serve import server
from storeboot.serve.nfs import service as nfs_service

TOOL = b"#!/bin/sh\necho tool\n"
OUTSIDE = b"x" * len(TOOL)


def package(running: server.Server) -> Path:
    """The host's system in the store, which may be changed now."""
    directory = running.service.inventory.systems.store.directory / os.fsdecode(top(running))
    for place in (directory, directory / "bin"):
        place.chmod(0o755)
    return directory


def fifo(place: Path) -> None:
    os.mkfifo(place)


def device(place: Path) -> None:
    os.mknod(place, stat.S_IFCHR | 0o666, os.makedev(1, 5))  # /dev/zero


def link(place: Path) -> None:
    outside = place.parents[1].with_name("outside")
    outside.write_bytes(OUTSIDE)
    place.symlink_to(outside)


def longer(place: Path) -> None:
    place.write_bytes(TOOL + b"more")


def shorter(place: Path) -> None:
    place.write_bytes(TOOL[:-1])


def read(client: NfsClient, handle: bytes) -> int:
    """READ's status."""
    arguments = opaque(handle) + bytes(8) + (100).to_bytes(4)
    return client.ask(NFS, 3, 6, arguments).uint32()


@pytest.mark.parametrize("workers", [0, 1])
@pytest.mark.parametrize("put", [fifo, device, link, longer, shorter])
async def test_what_is_in_a_files_place_is_an_error_and_keeps_nobody_waiting(
    tmp_path: Path, put: Callable[[Path], None], workers: int
) -> None:
    async with server.running(make_config(tmp_path, workers)) as running:
        with await asyncio.to_thread(NfsClient, running.service.config.nfs.port) as client:
            handle = await tool_handle(client, running)
            place = package(running) / "bin" / "tool"
            place.unlink()
            put(place)
            for _ in range(3):
                assert await asyncio.to_thread(read, client, handle) == Status.IO
            init = await asyncio.to_thread(client.mount, mount_path(running))
            for name in (top(running), b"init"):
                assert init is not None
                init = await asyncio.to_thread(client.lookup, init, name)
            assert init is not None
            assert await asyncio.to_thread(client.read, init) == b"#!/bin/sh\n"


@pytest.mark.parametrize("workers", [0, 1])
async def test_a_directory_swapped_for_a_link_leads_nowhere(tmp_path: Path, workers: int) -> None:
    """To one outside that has a file of the same name and size."""
    async with server.running(make_config(tmp_path, workers)) as running:
        with await asyncio.to_thread(NfsClient, running.service.config.nfs.port) as client:
            handle = await tool_handle(client, running)
            outside = tmp_path / "outside"
            outside.mkdir()
            (outside / "tool").write_bytes(OUTSIDE)
            directory = package(running) / "bin"
            directory.rename(tmp_path / "bin")
            directory.symlink_to(outside)
            assert directory.joinpath("tool").read_bytes() == OUTSIDE
            assert await asyncio.to_thread(read, client, handle) == Status.IO


async def test_a_directory_that_cannot_be_read_is_said_once_and_looked_at_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Root reads whatever it likes, so the directory is swapped while the store path is read."""
    monkeypatch.setattr(nfs_service, "UNREADABLE", 0.3)
    async with server.running(make_config(tmp_path)) as running:
        directory = package(running) / "bin"
        swapped = SwapWhenSeen(directory)
        monkeypatch.setattr(os, "stat", swapped.look)
        with await asyncio.to_thread(NfsClient, running.service.config.nfs.port) as client:
            root = await asyncio.to_thread(client.mount, mount_path(running))
            assert root is not None
            closed = b""
            with capture_logs() as told:
                for _ in range(20):
                    system = await asyncio.to_thread(client.lookup, root, top(running))
                    assert system is not None
                    found = await asyncio.to_thread(client.lookup, system, b"bin")
                    assert found is not None
                    closed = found
                    assert await asyncio.to_thread(client.lookup, closed, b"tool") is None
                    assert await asyncio.to_thread(client.lookup, system, b"init") is not None
            assert [each["path"] for each in told if each["event"] == "nfs.unreadable"] == [
                os.fsdecode(top(running)) + "/bin"
            ]
            monkeypatch.undo()
            directory.unlink()
            directory.with_name("aside").rename(directory)
            async with asyncio.timeout(15):
                await asyncio.to_thread(until_found, client, closed)
            assert await asyncio.to_thread(read_tool, running) == TOOL


def until_found(client: NfsClient, directory: bytes) -> None:
    while client.lookup(directory, b"tool") is None:
        time.sleep(0.05)


class SwapWhenSeen:
    """os.stat, behind which somebody swaps a directory for a link once it was looked at."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory
        self._stat = os.stat

    def look(
        self, path: object, *, dir_fd: int | None = None, follow_symlinks: bool = True
    ) -> os.stat_result:
        found = self._stat(path, dir_fd=dir_fd, follow_symlinks=follow_symlinks)  # type: ignore[arg-type]
        if path == b"bin" and stat.S_ISDIR(found.st_mode):
            self._directory.rename(self._directory.with_name("aside"))
            self._directory.symlink_to("/etc")
        return found


async def test_a_store_path_that_is_removed_is_stale_and_said_once(tmp_path: Path) -> None:
    async with server.running(make_config(tmp_path)) as running:
        with await asyncio.to_thread(NfsClient, running.service.config.nfs.port) as client:
            root = await asyncio.to_thread(client.mount, mount_path(running))
            assert root is not None
            system = await asyncio.to_thread(client.lookup, root, top(running))
            assert system is not None
            package(running).rename(tmp_path / "removed")
            with capture_logs() as told:
                for _ in range(5):
                    assert await asyncio.to_thread(client.lookup, system, b"bin") is None
            assert [each["event"] for each in told] == ["nfs.not_in_store"]
            assert await asyncio.to_thread(client.mount, mount_path(running))
