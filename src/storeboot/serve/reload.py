"""Reads the configuration again while the server runs: hosts change, sockets do not."""

from __future__ import annotations

import asyncio
import signal
from collections.abc import Callable

import structlog
from sqlalchemy.exc import SQLAlchemyError

from storeboot.config import Config
from storeboot.errors import StorebootError
from storeboot.serve.server import Server
from storeboot.systemd import reloading, sd_notify

log = structlog.get_logger()

LOAD_SECONDS = 30.0
# What sockets, worker processes, dnsmasq and the database were started with.
FIXED = ("server", "store", "database", "http", "nfs", "dhcp", "networks")


def merged(old: Config, new: Config) -> tuple[Config, tuple[str, ...]]:
    """Return the new configuration, except for sections that only a restart can change.

    Also returns the names of those sections that differ; they keep their old values. Raises
    ValueError if the old and the new parts do not fit together.
    """
    differ = tuple(name for name in FIXED if getattr(old, name) != getattr(new, name))
    kept = {name: getattr(old, name) for name in differ}
    return Config.model_validate({**dict(new), **kept}), differ


async def reload(server: Server, load: Callable[[], Config]) -> str:
    """Use the configuration that `load` returns; keep the old one if the new one is invalid.

    Running machines and boots on their way notice nothing. Returns the result, for `systemctl
    status`.
    """
    old = server.service.config
    try:
        new, left = merged(old, await server.service.work.chores.run(LOAD_SECONDS, load))
        await server.use(new)
    except (StorebootError, ValueError, OSError, SQLAlchemyError) as error:
        log.error("reload.refused", reason=str(error))
        return f"the new configuration was rejected: {str(error).partition(chr(10))[0]}"
    if left:
        log.warning("reload.needs_restart", sections=list(left))
    log.info("reload.done", declared=len(new.hosts))
    return f"serving, {len(new.hosts)} hosts in the configuration"


class Reloader:
    """Reads the configuration again at every SIGHUP, one time after the other."""

    def __init__(self, load: Callable[[], Config]) -> None:
        """Handle SIGHUP from now on, so that it does not end the process even while the server
        starts."""
        self._load = load
        self._asked = asyncio.Event()
        asyncio.get_running_loop().add_signal_handler(signal.SIGHUP, self._asked.set)

    async def run(self, server: Server) -> None:
        """Reload at every SIGHUP, until cancelled."""
        while True:
            await self._asked.wait()
            self._asked.clear()
            reloading()
            status = await reload(server, self._load)
            sd_notify(f"READY=1\nSTATUS={status}")
