"""Refused mounts: told apart on the wire, in the log and on the host's timeline."""

from __future__ import annotations

import asyncio
import os
import resource
from pathlib import Path

import pytest
from structlog.testing import capture_logs

from integration.nfs_client import MOUNT, NfsClient
from integration.servers import make_config
from integration.test_nfs_workers import mount_path, serving, with_alias
from integration.views import write_view
from nfs_codec import opaque
from storeboot.boot.state import Condition, Evidence, Listening, derive
from storeboot.config import Config, HostSection
from storeboot.deploy.state import make_state_directory
from storeboot.nfs.handle import HandleCodec, MountToken
from storeboot.nfs.status import Status
from storeboot.nix.store import Store
from storeboot.serve import server


def status(port: int, path: str, source: str = "127.0.0.1") -> int:
    with NfsClient(port, source=source) as client:
        return client.ask(MOUNT, 3, 1, opaque(path.encode())).uint32()


def with_bare_host(config: Config) -> Config:
    bare = HostSection(mac=("52:54:00:00:00:07",), address=("127.0.0.7",))
    return config.model_copy(update={"hosts": {**config.hosts, "lab7": bare}})


@pytest.mark.parametrize("workers", [0, 1])
async def test_each_refusal_has_its_status_its_line_and_its_place_in_a_timeline(
    tmp_path: Path, workers: int
) -> None:
    config = with_bare_host(with_alias(make_config(tmp_path, workers), "127.0.0.9"))
    async with server.running(config) as running:
        port, codec = config.nfs.port, HandleCodec(running.service.key)
        gone = codec.encode_token(MountToken(bytes(range(16)), bytes(8)))
        asked = [
            ("/nixstore", "127.0.0.9", Status.OK),
            ("/nixstore", "127.0.0.8", Status.ACCESS),
            ("/nixstore", "127.0.0.7", Status.NOENT),
            (f"/view/{gone}", "127.0.0.9", Status.NOENT),
            ("/view/" + "0" * 64, "127.0.0.9", Status.ACCESS),
            ("/nix/store", "127.0.0.8", Status.ACCESS),
        ]
        with capture_logs() as told:
            for path, source, wanted in asked * 2:
                assert await asyncio.to_thread(status, port, path, source) == wanted, path
            await running.nfs.backend.calls()  # behind what a worker had to say before
        said = [(each["peer"], each["reason"]) for each in told
                if each["event"] == "nfs.mount_refused"]  # fmt: skip
        assert said == [
            ("127.0.0.8", "no host has this address, so it may not mount the alias"),
            ("127.0.0.7", "the host with this address has no system"),
            ("127.0.0.9", "the view is not kept any more"),
            ("127.0.0.9", "the mount token is not one of this server's"),
            ("127.0.0.8", "there is nothing of this name to mount"),
        ]
        await running.service.look_at_native()
        events = running.service.boots.events_since("lab7", 0)
        assert [(each.stage, each.detail) for each in events] == [("no-store", said[1][1])]
        shown = derive(Evidence(tuple(events)), Listening(events[0].at + 1, 20))
        assert (shown.condition, shown.reason) == (Condition.FAILED, said[1][1])
        events = running.service.boots.events_since("lab1", 0)
        assert [each.detail for each in events if each.stage == "no-store"] == [
            said[2][1],
            said[3][1],
        ]


async def test_without_the_alias_nobody_is_let_in_by_it(tmp_path: Path) -> None:
    async with server.running(make_config(tmp_path)) as running:
        port = running.service.config.nfs.port
        with capture_logs() as told:
            assert await asyncio.to_thread(status, port, "/nixstore") == Status.NOENT
        assert "nfs.alias is not set" in told[-1]["reason"]


async def test_a_mount_waits_for_descriptors_that_are_short_for_a_moment(tmp_path: Path) -> None:
    async with serving(tmp_path, workers=1) as (running, backend):
        (pid,) = backend.pids
        port, limits = running.service.config.nfs.port, resource.prlimit(0, resource.RLIMIT_NOFILE)
        with await asyncio.to_thread(NfsClient, port) as client:
            assert await asyncio.to_thread(client.mount, "/nothing") is None  # it is connected
            resource.prlimit(pid, resource.RLIMIT_NOFILE, (4, limits[1]))
            waiting = asyncio.create_task(asyncio.to_thread(client.mount, mount_path(running)))
            done, _ = await asyncio.wait({waiting}, timeout=0.5)
            assert not done  # it is neither let in nor refused
            resource.prlimit(pid, resource.RLIMIT_NOFILE, limits)
            assert await waiting is not None


def test_want_of_descriptors_is_no_damage_to_a_view(tmp_path: Path) -> None:
    """It passes, so nothing is rebuilt for it."""
    made = make_state_directory(tmp_path)
    view = write_view(made, "0" * 32 + "-x").hex()
    made.views._root(view).symlink_to(f"/nix/store/{'0' * 32}-x")
    limits = resource.getrlimit(resource.RLIMIT_NOFILE)
    lowest = os.open("/dev/null", os.O_RDONLY)
    os.close(lowest)
    resource.setrlimit(resource.RLIMIT_NOFILE, (lowest, limits[1]))
    try:
        with pytest.raises(OSError, match="Too many open files"):
            made.views.mended(Store(tmp_path), view)
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, limits)
    assert made.views.mended(Store(tmp_path), view) is not None
