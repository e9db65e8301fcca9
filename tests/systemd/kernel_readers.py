"""Machines whose own kernel reads the store without a pause, while the test does harm."""

from __future__ import annotations

import asyncio
import hashlib
import itertools
import re
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

from e2e.systems import CACHE
from storeboot.nfs.handle import HandleCodec, MountToken
from storeboot.nfs.views import view_id
from storeboot.vm import uml
from storeboot.vm.demo.packages import Suite
from storeboot.vm.demo.uml_kernel import uml_kernel
from storeboot.vm.errand import errand_initrd
from storeboot.vm.qemu import HOST_ADDRESS
from systemd.clients import CONTENT, NFS_PORT
from systemd.installed import Installed

SCRIPT = Path(__file__).with_name("reader.sh")
_AT = re.compile(r"^reader: at ([0-9.]+)$", re.MULTILINE)


@dataclass(frozen=True)
class KernelReader:
    """A machine that reads one file again and again."""

    machine: uml.UmlMachine

    def times(self) -> list[float]:
        """Return when the file had been read, in seconds of the machine's uptime."""
        return [float(at) for at in _AT.findall(self._said())]

    def complaints(self) -> list[str]:
        """Return what the kernel or the script has found wrong."""
        lines = self._said().splitlines()
        bad = re.compile("reader: (wrong|cannot)|error|stale|call trace|bug:", re.IGNORECASE)
        return [line for line in lines if bad.search(line) and "fail_page" not in line]

    async def until_read(self, seconds: float) -> None:
        """Wait until the file has been read twice more."""
        before = len(self.times())
        async with asyncio.timeout(seconds):
            while len(self.times()) < before + 2:
                assert not self.machine.is_off, self.machine.console_tail()
                await asyncio.sleep(0.2)

    def longest_stall(self) -> float:
        """Return the longest time between two readings, in seconds."""
        times = self.times()
        return max(after - before for before, after in itertools.pairwise(times))

    def _said(self) -> str:
        said = self.machine.console.read_text(errors="replace").replace("\r", "")
        return said.partition("errand: ready")[2]


@asynccontextmanager
async def kernel_reader(
    service: Installed, suite: Suite, version: str, directory: Path
) -> AsyncIterator[KernelReader]:
    """Give a machine that has mounted the store of a server in systemd's namespace, and reads."""
    kernel = await asyncio.to_thread(uml_kernel, CACHE, suite)
    key = (service.machine.root / "var/lib/storeboot/server.key").read_bytes()
    view = view_id([service.system.text])
    values = {
        "server": HOST_ADDRESS,
        "port": NFS_PORT,
        "path": f"/view/{HandleCodec(key).encode_token(MountToken(view, bytes(8)))}",
        "file": f"{service.system.base_name}/large",
        "sum": hashlib.sha256(CONTENT).hexdigest(),
        "version": version,
    }
    head = "".join(f"{name}='{value}'\n" for name, value in values.items())
    initrd = await asyncio.to_thread(
        errand_initrd, kernel, directory / "reader.cpio", head + SCRIPT.read_text()
    )
    enter = tuple(service.machine.network.argv())
    spec = uml.UmlSpec(kernel, initrd, ("loglevel=5",), memory=256, enter=enter)
    async with uml.running(spec, directory) as machine:
        reader = KernelReader(machine)
        await reader.until_read(120)
        yield reader
