"""Does on the host what firmware and iPXE do before a kernel starts.

Giving a machine its kernel directly saves the seconds that emulated firmware takes. The server is
asked what to boot as iPXE would ask, so it sees the same requests.
"""

from __future__ import annotations

import asyncio
import re
from dataclasses import dataclass
from pathlib import Path

import aiohttp

from storeboot.errors import BootError
from storeboot.protocol.ipxe import NOTHING

_KERNEL = re.compile(r"^kernel (?P<url>\S+) (?P<words>.*) \|\| goto failed$", re.M)
_INITRD = re.compile(r"^initrd --name initrd (?P<url>\S+) \|\| goto failed$", re.M)
_MAC = "${netX/mac:hexhyp}"


@dataclass(frozen=True, slots=True)
class Orders:
    """What a script says to boot."""

    kernel: str  # its URL
    initrd: str
    command_line: str


@dataclass(frozen=True, slots=True)
class Loaded:
    """What a machine starts with."""

    kernel: Path
    initrd: Path
    command_line: str


def read_script(script: str, mac: str) -> Orders:
    """Return what a machine with this MAC address boots, according to an iPXE script."""
    kernel, initrd = _KERNEL.search(script), _INITRD.search(script)
    if kernel is None or initrd is None:
        raise BootError(f"the server's script boots nothing:\n{script}")
    line = kernel["words"].replace(NOTHING, "").replace(_MAC, _hyphens(mac))
    return Orders(kernel["url"], initrd["url"], line)


async def load(url: str, seen_from: str, mac: str, directory: Path) -> Loaded:
    """Ask a server what to boot, fetch that into `directory`, and return it.

    The server's script contains the `url` by which machines know it; here it is at `seen_from`.
    """
    query = {"mac": _hyphens(mac), "uuid": "", "serial": ""}
    async with aiohttp.ClientSession(raise_for_status=True) as http:
        async with http.get(f"{seen_from}/boot", params=query) as answer:
            orders = read_script(await answer.text(), mac)
        loaded = Loaded(directory / "kernel", directory / "initrd", orders.command_line)
        for name, file in ((orders.kernel, loaded.kernel), (orders.initrd, loaded.initrd)):
            async with http.get(name.replace(url, seen_from, 1)) as answer:
                await asyncio.to_thread(file.write_bytes, await answer.read())
    return loaded


def _hyphens(mac: str) -> str:
    return mac.replace(":", "-").lower()
