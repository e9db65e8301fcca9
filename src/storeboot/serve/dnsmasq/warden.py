"""The main process of storeboot-dnsmasq.service, which runs dnsmasq for `storeboot serve`.

It has dnsmasq's user and capabilities, and cannot read the server's state; the server can, and has
no capabilities. A connection starts with a line of JSON from the server: the ports that must be
free. The answer is also one line, either `{"pid": …}` or `{"error": …, "hint": …}`. After that come
the lines that dnsmasq writes; the server may send names of signals. When the connection ends,
dnsmasq is ended.
"""

from __future__ import annotations

import asyncio
import json
import signal
import socket
from contextlib import suppress
from pathlib import Path

import structlog

from storeboot.errors import StorebootError
from storeboot.process import Child, find_program
from storeboot.serve.dnsmasq.ports import Wanted, require_ports
from storeboot.serve.dnsmasq.runner import INSTALL, UNIT_SEES
from storeboot.systemd import keep_awake, sd_notify

log = structlog.get_logger()

HELLO_SECONDS = 10.0
END_SECONDS = 2.0  # between SIGTERM and SIGKILL
UNHEARD = 256 << 10  # bytes that wait for the server; more is dropped, so that dnsmasq never waits
_ALLOWED = {number.name: number for number in (signal.SIGHUP, signal.SIGKILL)}


async def guard(listening: socket.socket, program: Path | None) -> None:
    """Run dnsmasq for one connection after the other, until SIGTERM."""
    loop = asyncio.get_running_loop()
    stop, started = asyncio.Event(), asyncio.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(number, stop.set)
    tasks = [
        asyncio.create_task(_serve(listening, program)),
        asyncio.create_task(stop.wait()),
        asyncio.create_task(keep_awake(started)),
    ]
    sd_notify("READY=1")
    started.set()
    done, rest = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
    sd_notify("STOPPING=1")
    for task in rest:
        task.cancel()
    await asyncio.gather(*rest, return_exceptions=True)
    for task in done:
        task.result()


async def _serve(listening: socket.socket, program: Path | None) -> None:
    listening.setblocking(False)
    loop = asyncio.get_running_loop()
    while True:
        connection, _ = await loop.sock_accept(listening)
        reader, writer = await asyncio.open_connection(sock=connection)
        try:
            await _attend(reader, writer, program)
        except (OSError, ValueError, TimeoutError) as error:
            log.error("dnsmasq.connection_failed", reason=str(error))
        finally:
            writer.close()


async def _attend(
    reader: asyncio.StreamReader, writer: asyncio.StreamWriter, program: Path | None
) -> None:
    """Serve one connection, until it or dnsmasq ends."""
    async with asyncio.timeout(HELLO_SECONDS):
        ports = [Wanted(**each) for each in json.loads(await reader.readline() or b"[]")]
    try:
        await asyncio.to_thread(require_ports, ports)
        dnsmasq = program or find_program("dnsmasq", INSTALL)
        child = await Child.start(
            [dnsmasq, f"--conf-file={UNIT_SEES / 'dnsmasq.conf'}"], piped=True
        )
    except StorebootError as error:
        _say(writer, json.dumps({"error": error.message, "hint": error.hint}))
        return
    _say(writer, json.dumps({"pid": child.pid}))
    tasks = [asyncio.create_task(_relay(child, writer)), asyncio.create_task(_obey(child, reader))]
    try:
        await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        await child.stop(END_SECONDS)


async def _relay(child: Child, writer: asyncio.StreamWriter) -> None:
    async for line in child.lines():
        if writer.transport.get_write_buffer_size() < UNHEARD:
            _say(writer, line)


async def _obey(child: Child, reader: asyncio.StreamReader) -> None:
    with suppress(OSError):
        while word := await reader.readline():
            number = _ALLOWED.get(word.decode(errors="replace").strip())
            if number is not None:
                child.send(number)


def _say(writer: asyncio.StreamWriter, line: str) -> None:
    writer.write(line.encode() + b"\n")
