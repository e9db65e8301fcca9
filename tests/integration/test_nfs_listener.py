"""The NFS port: a user-space client that is not ours, and peers that send rubbish."""

from __future__ import annotations

import asyncio
import resource
import socket
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from structlog.testing import capture_logs

from integration.servers import make_config
from nfs_codec import NFS, call, marked
from storeboot.nfs.handle import HandleCodec, MountToken
from storeboot.process import run
from storeboot.serve import server
from storeboot.serve.nfs import connection as nfs_connection
from storeboot.serve.nfs.service import NfsService


@pytest.fixture
async def running(tmp_path: Path) -> AsyncIterator[server.Server]:
    async with server.running(make_config(tmp_path)) as made:
        yield made


def url(running: server.Server, path: str) -> str:
    (assignment,) = running.service.inventory.systems.ready.values()
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
    """All that the server says until it closes."""
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


NULL = marked(call(NFS, 3, 0))


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


async def answers(running: server.Server) -> bool:
    return (await exchange(running, NULL))[4:8] == b"\0\0\0\7"


async def test_rubbish_is_told_once_a_peer(running: server.Server) -> None:
    with capture_logs() as told:
        for _ in range(50):
            await exchange(running, b"\xff" * 100)
    assert [each["event"] for each in told if each["log_level"] == "info"] == [
        "nfs.peer_sent_rubbish"
    ]


async def test_a_record_of_a_gigabyte_takes_no_memory(running: server.Server) -> None:
    """The mark alone ends the connection."""
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    for _ in range(20):
        assert await exchange(running, b"\xc0\0\0\0" + bytes(1 << 16)) == b""
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 64 << 10  # KiB


async def ask_without_end(writer: asyncio.StreamWriter) -> None:
    while True:
        writer.write(NULL * 100)
        await asyncio.wait_for(writer.drain(), 20)


async def test_a_peer_that_reads_nothing_is_bounded_and_given_up(
    running: server.Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It asks without end and takes no answer: its calls wait in its own socket, not in us."""
    monkeypatch.setattr(nfs_connection, "SLOW_PEER", 1.0)
    port = running.service.config.nfs.port
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    writer.transport.set_write_buffer_limits(0)
    reader._transport.pause_reading()  # type: ignore[attr-defined]
    with pytest.raises(ConnectionError):
        await ask_without_end(writer)
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 64 << 10
    assert await answers(running)
    writer.close()


async def test_a_slow_loris_keeps_nobody_waiting(
    running: server.Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A hundred peers that send a byte now and then have as long as any for a whole record."""
    monkeypatch.setattr(nfs_connection, "STARTED_RECORD", 1.0)
    port = running.service.config.nfs.port
    slow = [await asyncio.open_connection("127.0.0.1", port) for _ in range(100)]
    given_up = asyncio.gather(*(reader.read() for reader, _ in slow), return_exceptions=True)
    for at in range(len(NULL) - 4):
        for _, writer in slow:
            writer.write(NULL[at : at + 1])
        assert await answers(running)
        done, _ = await asyncio.wait([given_up], timeout=0.1)
        if done:
            break
    assert all(end in (b"",) or isinstance(end, OSError) for end in await given_up)
    for _, writer in slow:
        writer.close()


async def test_a_peer_without_power_is_asked_whether_it_is_there(running: server.Server) -> None:
    """Half-open: it says no goodbye, so the kernel asks, and gives up after six minutes."""
    backend = running.nfs.backend
    assert isinstance(backend, NfsService)
    port = running.service.config.nfs.port
    _, writer = await asyncio.open_connection("127.0.0.1", port)
    assert await answers(running)
    accepted = next(iter(backend.connections))._socket
    assert accepted.getsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE) == 1
    names = (socket.TCP_KEEPIDLE, socket.TCP_KEEPINTVL, socket.TCP_KEEPCNT)
    idle, interval, probes = (accepted.getsockopt(socket.IPPROTO_TCP, name) for name in names)
    assert idle + interval * probes <= 360
    writer.close()
