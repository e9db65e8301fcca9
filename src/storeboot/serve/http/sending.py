"""Sends a kernel or an initrd, and tells how far it is and when its last byte was sent."""

from __future__ import annotations

import re
import socket
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

from aiohttp import web
from aiohttp.abc import AbstractStreamWriter
from typing_extensions import override

from storeboot.serve.tcp import TcpInfo
from storeboot.service.downloads import Arrived, Part

# Bytes that may wait in the kernel. With the default of some megabytes a small initrd would seem
# to be sent at once, however slow the machine's network is.
UNSENT = 128 << 10
_RANGE = re.compile(r"bytes (\d+)-(\d+)/\d+")
Begins = Callable[[Arrived], Awaitable[Callable[[Part | None], Awaitable[None]] | None]]


class SentFile(web.FileResponse):
    """A file whose sending is followed."""

    def __init__(self, file: Path, begins: Begins) -> None:
        """`begins` is called before the first byte. It returns what is called at the end, with the
        part of the file that has arrived, or None if nobody wants to know."""
        super().__init__(file)
        self._begins = begins
        self._connection: socket.socket | None = None
        self._before = 0  # bytes that were acknowledged before this answer

    @override
    async def prepare(self, request: web.BaseRequest) -> AbstractStreamWriter | None:
        self._connection = _connection(request)
        self._before = self._acknowledged()
        ended = await self._begins(self._arrived)
        if ended is None:
            return await super().prepare(request)
        part: Part | None = None
        try:
            writer = await super().prepare(request)
            part = self._promised()
        except BaseException:
            part = self._arrived()
            raise
        finally:
            await ended(part)
        return writer

    def _promised(self) -> Part | None:
        """Return the part of the file that the headers announce, or None if they announce none."""
        length = self.content_length
        match = _RANGE.fullmatch(self.headers.get("Content-Range", ""))
        if self.status == web.HTTPPartialContent.status_code and match is not None:
            return int(match[1]), int(match[2]) + 1
        if self.status == web.HTTPOk.status_code and self.prepared and length is not None:
            return 0, length
        return None

    def _arrived(self) -> Part | None:
        """Return the part of the file that the machine has acknowledged.

        The headers are counted as well, and what was still on its way from an earlier answer: some
        hundred bytes.
        """
        promised = self._promised()
        if promised is None:
            return None
        start, end = promised
        return start, min(end, start + max(0, self._acknowledged() - self._before))

    def _acknowledged(self) -> int:
        if self._connection is None:
            return self._before
        try:
            return TcpInfo.of(self._connection).acknowledged
        except OSError:
            return self._before


def _connection(request: web.BaseRequest) -> socket.socket | None:
    found: Any = request.get_extra_info("socket")
    if found is None:
        return None
    try:
        found.setsockopt(socket.IPPROTO_TCP, socket.TCP_NOTSENT_LOWAT, UNSENT)
    except OSError:
        return None
    connection: socket.socket = found
    return connection
