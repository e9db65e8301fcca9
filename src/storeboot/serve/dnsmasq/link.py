"""The server's side of a connection to a dnsmasq that a unit runs for it (`warden`)."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Iterable
from contextlib import suppress
from dataclasses import asdict
from pathlib import Path
from signal import Signals

from storeboot.errors import StorebootError
from storeboot.serve.dnsmasq.ports import Wanted
from storeboot.serve.dnsmasq.runner import require_unit

ANSWER_SECONDS = 15.0  # systemd may have to start the unit first
_LOOK = "systemctl status storeboot-dnsmasq.service"


class Link:
    """A connection to the unit. dnsmasq runs as long as it is open."""

    def __init__(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, pid: int
    ) -> None:
        self._reader = reader
        self._writer = writer
        self.pid = pid

    @classmethod
    async def start(cls, path: Path, ports: Iterable[Wanted]) -> Link:
        """Have the unit start dnsmasq; raise StorebootError with the reason if that fails."""
        require_unit(path)
        writer: asyncio.StreamWriter | None = None
        try:
            async with asyncio.timeout(ANSWER_SECONDS):
                reader, writer = await asyncio.open_unix_connection(path)
                writer.write(json.dumps([asdict(port) for port in ports]).encode() + b"\n")
                answer = json.loads(await reader.readline() or b"{}")
        except TimeoutError:
            _close(writer)
            message = f"storeboot-dnsmasq.service says nothing for {ANSWER_SECONDS:.0f} s"
            raise StorebootError(message, _LOOK) from None
        except (OSError, ValueError) as error:
            _close(writer)
            raise StorebootError(f"cannot reach {path}: {error}", _LOOK) from None
        if "pid" not in answer:
            _close(writer)
            words = answer.get("error", "storeboot-dnsmasq.service has ended")
            raise StorebootError(words, answer.get("hint") or _LOOK)
        return cls(reader, writer, answer["pid"])

    async def lines(self) -> AsyncIterator[str]:
        """Yield the lines that dnsmasq writes, until it ends."""
        while True:
            try:
                line = await self._reader.readline()
            except ValueError:  # a line that is too long to be read
                continue
            except OSError:
                return
            if not line:
                return
            yield line.decode(errors="replace").rstrip("\n")

    def send(self, number: Signals) -> None:
        with suppress(OSError):
            self._writer.write(f"{number.name}\n".encode())

    async def stop(self, patience: float = 10.0) -> None:
        """Close the connection, which ends dnsmasq; wait at most `patience` seconds for that."""
        with suppress(OSError, TimeoutError):
            async with asyncio.timeout(patience):
                if self._writer.can_write_eof():
                    self._writer.write_eof()
                while await self._reader.read(1 << 16):
                    pass
        _close(self._writer)


def _close(writer: asyncio.StreamWriter | None) -> None:
    if writer is not None:
        writer.close()
