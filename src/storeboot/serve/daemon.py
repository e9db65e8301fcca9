"""`storeboot serve`: a server until a signal ends it, with systemd told of its life."""

from __future__ import annotations

import asyncio
import signal
from collections.abc import Callable
from contextlib import suppress

import structlog

from storeboot.config import Config
from storeboot.serve.reload import Reloader
from storeboot.serve.server import running
from storeboot.systemd import listen_fds, sd_notify, watchdog_seconds

log = structlog.get_logger()


async def serve(load: Callable[[], Config], progress: Callable[[str], None]) -> None:
    """Run until SIGINT or SIGTERM; SIGHUP reads the configuration again."""
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(number, stop.set)
    reloader = Reloader(load)
    async with running(load(), progress, listen_fds()) as server, asyncio.TaskGroup() as chores:
        tasks = [chores.create_task(reloader.run(server))]
        if (seconds := watchdog_seconds()) is not None:
            tasks.append(chores.create_task(_stay_awake(seconds / 3)))
        hosts = await server.service.ask(server.service.registry.all)
        sd_notify(f"READY=1\nSTATUS=serving {len(hosts)} hosts")
        await stop.wait()
        sd_notify("STOPPING=1")
        for task in tasks:
            task.cancel()
    log.info("serve.stopped")


async def _stay_awake(seconds: float) -> None:
    """From the loop that serves: if that hangs, systemd starts the server again."""
    while True:
        with suppress(OSError):  # systemd itself is started again
            sd_notify("WATCHDOG=1")
        await asyncio.sleep(seconds)
