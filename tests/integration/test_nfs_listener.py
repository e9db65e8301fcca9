"""The NFS port: a user-space client that is not ours, and peers that send rubbish."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from integration.servers import make_config
from storeboot.nfs.handle import HandleCodec, MountToken
from storeboot.process import run
from storeboot.serve import nfs_connection, server
from unit.nfs_tree import call


@pytest.fixture
async def running(tmp_path: Path) -> AsyncIterator[server.Server]:
    async with server.running(make_config(tmp_path)) as made:
        yield made


def url(running: server.Server, path: str) -> str:
    (assignment,) = running.service.assignments.values()
    token = MountToken(bytes.fromhex(assignment.view.view_id), bytes(8))
    name = assignment.system.toplevel.base_name
    port = running.service.config.nfs.port
    view = HandleCodec(running.service.key).encode_token(token)
    return f"nfs://127.0.0.1/view/{view}/{name}/{path}?version=3&nfsport={port}&mountport={port}"


async def test_libnfs_lists_and_reads(running: server.Server) -> None:
    listing = await asyncio.to_thread(run, ["nfs-ls", url(running, "bin")])
    assert [line.split()[-1] for line in sorted(listing.splitlines())] == ["tool", "link"]
    assert "-r-xr-xr-x" in listing
    content = await asyncio.to_thread(run, ["nfs-cat", url(running, "bin/tool")])
    assert content == "#!/bin/sh\necho tool\n"


async def exchange(running: server.Server, data: bytes) -> bytes:
    """All that the server says until it closes, or 2 s after its last word."""
    port = running.service.config.nfs.port
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    try:
        writer.write(data)
        writer.write_eof()
        return await asyncio.wait_for(reader.read(), 10)
    except ConnectionError:
        return b""
    finally:
        writer.close()


NULL = b"\x80\0\0\x28" + call(100003, 3, 0, b"")


@pytest.mark.parametrize(
    "rubbish",
    [b"GET / HTTP/1.1\r\n\r\n", b"\xff" * 100, b"\x80\0\0\4abcd", b"\xc0\0\0\0",
     b"\x80\0\0\0",],
)  # fmt: skip
async def test_rubbish_ends_that_connection_and_no_other(
    running: server.Server, rubbish: bytes
) -> None:
    assert await exchange(running, rubbish) == b""
    assert (await exchange(running, NULL))[4:8] == b"\0\0\0\7"


async def test_a_record_that_never_ends_is_given_up(
    running: server.Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(nfs_connection, "STARTED_RECORD", 0.2)
    port = running.service.config.nfs.port
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    writer.write(NULL[:20])
    with pytest.raises((ConnectionError, asyncio.IncompleteReadError)):
        await asyncio.wait_for(reader.readexactly(1), 10)
    writer.close()


async def test_many_calls_in_one_write_are_answered_in_order(running: server.Server) -> None:
    assert len(await exchange(running, NULL * 500)) == 28 * 500


async def test_two_hundred_idle_connections_do_not_matter(running: server.Server) -> None:
    port = running.service.config.nfs.port
    idle = [socket.create_connection(("127.0.0.1", port)) for _ in range(200)]
    try:
        assert (await exchange(running, NULL))[4:8] == b"\0\0\0\7"
    finally:
        for each in idle:
            each.close()
