"""`storeboot serve`: runs a server until a signal ends it, and keeps systemd informed."""

from __future__ import annotations

import asyncio
import signal
from collections.abc import Callable

import structlog

from storeboot.config import Config
from storeboot.serve.reload import Reloader
from storeboot.serve.server import running
from storeboot.systemd import keep_awake, listen_fds, sd_notify

log = structlog.get_logger()


async def serve(load: Callable[[], Config], progress: Callable[[str], None]) -> None:
    """Run until SIGINT or SIGTERM; on SIGHUP read the configuration again."""
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(number, stop.set)
    reloader = Reloader(load)
    started = asyncio.Event()
    # Sent from the event loop that serves, so that systemd restarts a server whose loop hangs.
    awake = asyncio.create_task(keep_awake(started))
    async with running(load(), progress, listen_fds()) as server, asyncio.TaskGroup() as chores:
        reloads = chores.create_task(reloader.run(server))
        hosts = await server.service.ask(server.service.registry.all)
        sd_notify(f"READY=1\nSTATUS=serving {len(hosts)} hosts")
        started.set()
        await stop.wait()
        sd_notify("STOPPING=1")
        reloads.cancel()
    awake.cancel()
    log.info("serve.stopped")
