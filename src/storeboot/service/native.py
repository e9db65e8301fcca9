"""Watches machines whose own initrd mounts the store: they report nothing themselves.

The server sees this much of such a boot: kernel and initrd are fetched, an NFS connection comes
from the host's address, files are read. If one of these does not follow, the boot hangs.
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
MAX_REFUSED = 1024  # refusals that wait to be reported
FORGOTTEN = 600.0  # seconds after the complaint until a boot is not watched any more


@dataclass(slots=True)
class Watch:
    """A boot that is being watched; `since` is in seconds by the server's clock."""

    host: str
    addresses: tuple[str, ...]
    stage: str  # initrd or mount
    since: float
    told: bool = True  # whether the stage was reported
    complained: bool = False  # whether the boot was reported to hang

    def untold(self) -> list[Event]:
        """Return the event of its stage, if that was not reported yet."""
        if self.told:
            return []
        self.told = True
        return [Event(self.host, Source.NFS, self.stage, self.since)]


class NativeBoots:
    """The boots that report nothing, from the initrd to the first file that is read."""

    def __init__(self) -> None:
        self._watches: dict[str, Watch] = {}
        self._refused: list[Event] = []

    def begin(self, host: Host, now: float) -> None:
        """Watch a host whose initrd was fetched."""
        self._watches[host.name] = Watch(host.name, host.addresses, Stage.INITRD, now)

    def forget(self, host: str) -> None:
        """Stop watching a host: it boots in another mode."""
        self._watches.pop(host, None)

    def end(self, host: str) -> list[Event]:
        """Stop watching a host whose agent reports now; return events that were not reported
        yet."""
        watch = self._watches.pop(host, None)
        return watch.untold() if watch is not None else []

    def connected(self, address: str, now: float) -> None:
        """Note a connection from an address that may mount the alias."""
        for watch in self._watches.values():
            if address in watch.addresses and watch.stage == Stage.INITRD:
                watch.stage, watch.since = Stage.MOUNT, now
                watch.told = watch.complained = False

    def refused(self, host: str, reason: str, now: float) -> None:
        """Note that the host with a machine's address was refused its mount."""
        if len(self._refused) < MAX_REFUSED:
            self._refused.append(Event(host, Source.NFS, Stage.NO_STORE, now, detail=reason))
        watch = self._watches.get(host)
        if watch is not None:
            watch.complained = True  # the reason is known

    def take_refused(self) -> list[Event]:
        """Return the refusals that were not reported yet."""
        taken, self._refused = self._refused, []
        return taken

    def watched(self) -> list[Watch]:
        return list(self._watches.values())


class NativeWatch:
    """Watches these boots. It is a listener: a fetched initrd starts a watch, an agent ends it."""

    def __init__(
        self,
        boots: NativeBoots,
        reads: Callable[[str], Awaitable[set[bytes]]],
        known: Callable[[str], Awaitable[Host | None]],
        has_spoken: Callable[[str, float], Awaitable[bool]],
    ) -> None:
        """`reads` returns the files that an address has read since the last call.

        `known` returns the host of a name, or None. `has_spoken` returns whether a host's machine
        has sent anything since a time.
        """
        self._boots = boots
        self._reads = reads
        self._known = known
        self._has_spoken = has_spoken

    async def heard(self, happening: Happening) -> list[Event]:
        """Start or end a watch; return the events of a boot whose agent has just spoken.

        Until its agent runs, if it has one, a boot in mode native reports nothing itself.
        """
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
        """Check on the watched boots, and yield the events to report."""
        for event in self._boots.take_refused():
            yield event
        for watch in self._boots.watched():
            if now - watch.since > NO_MOUNT + FORGOTTEN:
                self._boots.forget(watch.host)
                continue
            read = [file for address in watch.addresses for file in await self._reads(address)]
            for event in watch.untold():
                yield event
            if watch.stage == Stage.INITRD:  # what was read belongs to the boot before
                if await self._is_hung(watch, now):
                    yield _complaint(watch, now, NEVER_MOUNTED)
            elif read:
                self._boots.forget(watch.host)
                yield Event(watch.host, Source.NFS, Stage.STAGE_2, now)
            elif _is_late(watch, now, NO_READ):
                yield _complaint(watch, now, WENT_SILENT)

    async def _is_hung(self, watch: Watch, now: float) -> bool:
        """Return whether the boot hangs before its mount.

        If its machine is running, somebody else has fetched the initrd, and no boot hangs.
        """
        late = _is_late(watch, now, NO_MOUNT)
        return late and not await self._has_spoken(watch.host, now - HEARD_OF)


def _is_late(watch: Watch, now: float, after: float) -> bool:
    return not watch.complained and now - watch.since > after


def _complaint(watch: Watch, now: float, words: str) -> Event:
    watch.complained = True
    return Event(watch.host, Source.NFS, Stage.SILENT, now, detail=words)
