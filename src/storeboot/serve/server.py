"""`storeboot serve`: every listener bound, then ready; a signal, then everything closed."""

from __future__ import annotations

import asyncio
import resource
import signal
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass

import structlog
from aiohttp import web

from storeboot.config import Config
from storeboot.errors import StorebootError
from storeboot.hosts.boots import Boots
from storeboot.hosts.database import open_database, sqlite_url
from storeboot.nfs.program import Programs
from storeboot.serve.boot_service import BootService, open_service
from storeboot.serve.http_app import make_app
from storeboot.serve.nfs_listener import NfsListener
from storeboot.serve.state import StateDirectory
from storeboot.serve.store_tree import StoreTree
from storeboot.systemd import sd_notify

log = structlog.get_logger()


@dataclass(frozen=True, slots=True)
class Server:
    """A running server."""

    service: BootService
    nfs: NfsListener
    runner: web.AppRunner

    async def stop(self) -> None:
        """Close every listener and connection."""
        await self.runner.cleanup()
        await self.nfs.stop()


@asynccontextmanager
async def running(
    config: Config, progress: Callable[[str], None] = lambda _text: None
) -> AsyncIterator[Server]:
    """A server with its systems assigned and its ports bound."""
    _raise_file_limit()
    state = StateDirectory(config.server.state_directory)
    engine = open_database(sqlite_url(state.path))
    service = open_service(config, Boots(engine), time.time)
    nfs = NfsListener(Programs(service.key), StoreTree(service.store, service.state))
    app = make_app(service)
    runner = web.AppRunner(app, handle_signals=False, access_log=None, shutdown_timeout=2)
    try:
        # First, so that machines that run wait no longer than they must.
        await nfs.start(config.nfs.listen, config.nfs.port)
        await asyncio.to_thread(service.assign, progress)
        await runner.setup()
        await _listen_http(runner, config)
        log.info("serve.ready", url=service.url, nfs_port=config.nfs.port, hosts=len(config.hosts))
        yield Server(service, nfs, runner)
    finally:
        await runner.cleanup()
        await nfs.stop()
        engine.dispose()


def _raise_file_limit() -> None:
    """Every machine is a connection, every file that is read a descriptor."""
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))


async def _listen_http(runner: web.AppRunner, config: Config) -> None:
    listen, port = config.http.listen, config.http.port
    try:
        await web.TCPSite(runner, listen, port).start()
    except OSError as error:
        raise StorebootError(
            f"cannot listen for HTTP on {listen} port {port}: {error.strerror}",
            "stop what uses the port, or set http.port",
        ) from None


async def serve(config: Config, progress: Callable[[str], None]) -> None:
    """Run until SIGINT or SIGTERM."""
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(number, stop.set)
    async with running(config, progress) as server:
        sd_notify(f"READY=1\nSTATUS=serving {len(server.service.hosts.by_name)} hosts")
        await stop.wait()
    log.info("serve.stopped")
