"""Machines whose own initrd mounts the store: they say nothing, so it is seen from outside.

What the server sees of such a boot: kernel and initrd are fetched, an NFS connection comes from the
host's address, files are read. Where one of these does not follow, the boot hangs.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator, Awaitable, Callable
from dataclasses import dataclass

from storeboot.hosts.boot import Event
from storeboot.hosts.host import Host
from storeboot.protocol.stages import Source, Stage
from storeboot.service.happenings import Happening

NO_MOUNT = 180.0  # seconds from the initrd to the mount: decompression, DHCP, a slow switch
NO_READ = 30.0  # seconds from the mount to the first file: stage 2 starts from the store
NEVER_MOUNTED = (
    "initrd: it was fetched, but nothing has mounted the store since: does it have the NIC's "
    "driver, nfs and overlay (boot.initrd.availableKernelModules), and a network "
    "(boot.initrd.network.enable)?"
)
WENT_SILENT = (
    "mount: stage 1 has mounted the store, then the network went silent: "
    "boot.initrd.network.flushBeforeStage2 must be false, unless stage 1 waits for somebody"
)
HEARD_OF = 60.0  # seconds: a few heartbeats
FORGOTTEN = 600.0  # seconds after the complaint: whoever goes on after that is not waited for


@dataclass(slots=True)
class Watch:
    """A boot on its way; `since` in the server's seconds."""

    host: str
    addresses: tuple[str, ...]
    stage: str  # initrd or mount
    since: float
    told: bool = True  # the stage
    complained: bool = False  # that nothing came of it

    def untold(self) -> list[Event]:
        """Its stage, the first time."""
        if self.told:
            return []
        self.told = True
        return [Event(self.host, Source.NFS, self.stage, self.since)]


class NativeBoots:
    """The boots that say nothing, from the initrd to the first file read."""

    def __init__(self) -> None:
        self._watches: dict[str, Watch] = {}

    def begin(self, host: Host, now: float) -> None:
        """Its initrd was fetched."""
        self._watches[host.name] = Watch(host.name, host.addresses, Stage.INITRD, now)

    def forget(self, host: str) -> None:
        """It boots in another way."""
        self._watches.pop(host, None)

    def end(self, host: str) -> list[Event]:
        """It speaks for itself from here on; return what was not told of it yet."""
        watch = self._watches.pop(host, None)
        return watch.untold() if watch is not None else []

    def connected(self, address: str, now: float) -> None:
        """A connection of an address that may mount by the alias' name."""
        for watch in self._watches.values():
            if address in watch.addresses and watch.stage == Stage.INITRD:
                watch.stage, watch.since = Stage.MOUNT, now
                watch.told = watch.complained = False

    def watched(self) -> list[Watch]:
        return list(self._watches.values())


class NativeWatch:
    """Watches these boots. It is a listener: a fetched initrd begins one, an agent ends it."""

    def __init__(
        self,
        boots: NativeBoots,
        reads: Callable[[str], Awaitable[set[bytes]]],
        known: Callable[[str], Awaitable[Host | None]],
        has_spoken: Callable[[str, float], Awaitable[bool]],
    ) -> None:
        """`reads` returns the files that an address has read since it was asked last.

        `known` returns the host of that name, `has_spoken` whether a host's machine has sent
        anything since a time.
        """
        self._boots = boots
        self._reads = reads
        self._known = known
        self._has_spoken = has_spoken

    async def heard(self, happening: Happening) -> list[Event]:
        """A boot of mode native says nothing of itself until its agent runs, if it has one."""
        event = happening.event
        if event.source == Source.AGENT and event.stage != Stage.SHUTDOWN:
            return self._boots.end(event.host)
        if event.stage == Stage.INITRD and event.source == Source.SERVER:
            host = await self._known(event.host)
            if host is not None and host.mode == "native":
                self._boots.begin(host, event.at)
            else:
                self._boots.forget(event.host)
        return []

    async def look(self, now: float) -> AsyncGenerator[Event, None]:
        """See how the watched boots go on; yield the events that are to be told."""
        for watch in self._boots.watched():
            if now - watch.since > NO_MOUNT + FORGOTTEN:
                self._boots.forget(watch.host)
                continue
            read = [file for address in watch.addresses for file in await self._reads(address)]
            for event in watch.untold():
                yield event
            if watch.stage == Stage.INITRD:  # what was read is of the boot before
                if await self._is_hung(watch, now):
                    yield _complaint(watch, now, NEVER_MOUNTED)
            elif read:
                self._boots.forget(watch.host)
                yield Event(watch.host, Source.NFS, Stage.STAGE_2, now)
            elif _is_late(watch, now, NO_READ):
                yield _complaint(watch, now, WENT_SILENT)

    async def _is_hung(self, watch: Watch, now: float) -> bool:
        """Return whether the boot hangs before its mount. If its machine runs, somebody else has
        fetched the initrd."""
        late = _is_late(watch, now, NO_MOUNT)
        return late and not await self._has_spoken(watch.host, now - HEARD_OF)


def _is_late(watch: Watch, now: float, after: float) -> bool:
    return not watch.complained and now - watch.since > after


def _complaint(watch: Watch, now: float, words: str) -> Event:
    watch.complained = True
    return Event(watch.host, Source.NFS, Stage.SILENT, now, detail=words)
