"""Machines whose own initrd mounts the store: they say nothing, so it is seen from outside.

What the server sees of such a boot: kernel and initrd are fetched, an NFS connection comes from the
host's address, files are read. Where one of these does not follow, the boot hangs.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass

from storeboot.boot.timeline import SILENT
from storeboot.hosts.boots import Event
from storeboot.hosts.host import Host

NO_MOUNT = 180.0  # seconds from the initrd to the mount: decompression, DHCP, a slow switch
NO_READ = 30.0  # seconds from the mount to the first file: stage 2 starts from the store
NEVER_MOUNTED = (
    "initrd: it was fetched, but nothing has mounted the store since: has it the NIC's driver, "
    "nfs and overlay (boot.initrd.availableKernelModules), and a network "
    "(boot.initrd.network.enable)?"
)
WENT_SILENT = (
    "mount: stage 1 has mounted the store, then the network went silent: "
    "boot.initrd.network.flushBeforeStage2 must be false, unless stage 1 waits for somebody"
)
HEARD_OF = 60.0  # seconds: a few heartbeats
FORGOTTEN = 600.0  # seconds after the complaint: whoever goes on after that is not waited for


@dataclass(slots=True)
class _Watch:
    """A boot on its way; `since` in the server's seconds."""

    host: str
    addresses: tuple[str, ...]
    stage: str  # initrd or mount
    since: float
    told: bool = True  # the stage
    complained: bool = False  # that nothing came of it


class NativeBoots:
    """What was seen of the boots that say nothing, from the initrd to the first file read."""

    def __init__(
        self,
        record: Callable[[Event], Awaitable[None]],
        reads: Callable[[str], Awaitable[set[bytes]]],
        has_spoken: Callable[[str, float], Awaitable[bool]] | None = None,
    ) -> None:
        """`has_spoken`: whether a host's machine said something itself since then."""
        self._record = record
        self._reads = reads
        self._has_spoken = has_spoken
        self._watches: dict[str, _Watch] = {}

    def begin(self, host: Host, now: float) -> None:
        """Its initrd was fetched."""
        self._watches[host.name] = _Watch(host.name, host.addresses, "initrd", now)

    def forget(self, host: str) -> None:
        """It boots in another way."""
        self._watches.pop(host, None)

    async def end(self, host: str) -> None:
        """It speaks for itself from here on."""
        watch = self._watches.pop(host, None)
        if watch is not None:
            await self._tell(watch)

    def connected(self, address: str, now: float) -> None:
        """A connection of an address that may mount by the alias' name."""
        for watch in self._watches.values():
            if address in watch.addresses and watch.stage == "initrd":
                watch.stage, watch.since = "mount", now
                watch.told = watch.complained = False

    async def look(self, now: float) -> None:
        """Has anything come of what has begun?"""
        for watch in list(self._watches.values()):
            if now - watch.since > NO_MOUNT + FORGOTTEN:
                self.forget(watch.host)
                continue
            read = [file for address in watch.addresses for file in await self._reads(address)]
            await self._tell(watch)
            if watch.stage == "initrd":  # what was read is of the boot before
                await self._complain(watch, now, NO_MOUNT, NEVER_MOUNTED)
            elif read:
                self._watches.pop(watch.host, None)
                await self._record(Event(watch.host, "nfs", "stage-2", now))
            else:
                await self._complain(watch, now, NO_READ, WENT_SILENT)

    async def _tell(self, watch: _Watch) -> None:
        if not watch.told:
            watch.told = True
            await self._record(Event(watch.host, "nfs", watch.stage, watch.since))

    async def _speaks(self, host: str, now: float) -> bool:
        return self._has_spoken is not None and await self._has_spoken(host, now - HEARD_OF)

    async def _complain(self, watch: _Watch, now: float, after: float, words: str) -> None:
        if watch.complained or now - watch.since <= after:
            return
        if watch.stage == "initrd" and await self._speaks(watch.host, now):
            return  # it runs, and somebody else has fetched its initrd
        watch.complained = True
        await self._record(Event(watch.host, "nfs", SILENT, now, detail=words))
