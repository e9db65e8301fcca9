"""Checks that dnsmasq answers, by asking it over TFTP for a file that does not exist (RFC 1350)."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Any

import structlog
from typing_extensions import override

from storeboot.serve.dnsmasq.ports import TFTP_PORT

log = structlog.get_logger()

NAME = "storeboot-are-you-there"  # appears in dnsmasq's log as well
INTERVAL = 1.5  # seconds between two requests
MISSES = 4  # requests without an answer after which dnsmasq counts as silent
_QUESTION = b"\0\1" + NAME.encode() + b"\0octet\0"


class TftpProbe(asyncio.DatagramProtocol):
    """Requests to the server's own addresses. They travel over the loopback interface."""

    def __init__(self, addresses: Sequence[str], port: int = TFTP_PORT) -> None:
        self._addresses = addresses
        self._port = port
        self._answered = False
        self.works = False  # set by the first answer; only after that does silence mean anything

    async def until_silent(self) -> None:
        """Return when dnsmasq has answered before and now does not."""
        misses = 0
        while misses < MISSES:
            self._answered = False
            asked = await self._ask()
            if self._answered or not asked:
                misses = 0
            elif self.works:
                misses += 1

    async def _ask(self) -> bool:
        """Send one request and wait for the answer; False if the server has none of its
        addresses."""
        loop = asyncio.get_running_loop()
        transports = []
        for address in self._addresses:
            try:
                transport, _ = await loop.create_datagram_endpoint(
                    lambda: self, local_addr=(address, 0)
                )
            except OSError:  # the interface is down
                continue
            transports.append(transport)
            transport.sendto(_QUESTION, (address, self._port))
        try:
            await asyncio.sleep(INTERVAL)
        finally:
            for transport in transports:
                transport.close()
        return bool(transports)

    @override
    def datagram_received(self, data: bytes, addr: tuple[str | Any, int]) -> None:
        if addr[0] not in self._addresses:
            return
        if not self.works:
            log.info("dhcp.answers", address=addr[0])
        self._answered = self.works = True
