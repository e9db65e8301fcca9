"""Watches machines whose own initrd mounts the store: they report nothing themselves.

The server sees this much of such a boot: kernel and initrd are fetched to their last byte, an NFS
connection comes from the host's address and mounts the store, files are read. If one of these does
not follow, the boot hangs, and the next one that is missing tells where. Whether a machine that has
mounted has lost its network is told by its TCP: a kernel answers the question whether it is there,
whatever its programs do.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator, Awaitable, Callable
from dataclasses import dataclass
from ipaddress import ip_address

from storeboot.hosts.boot import Event
from storeboot.hosts.host import Host
from storeboot.protocol.stages import Source, Stage
from storeboot.service.happenings import Happening

NO_MOUNT = 180.0  # seconds from the initrd to the mount: decompression, DHCP, a slow switch
NO_READ = 30.0  # seconds from the mount to the first file: stage 2 starts from the store
SILENT = 10.0  # seconds in which a machine with a network would have answered TCP three times
NEVER_CONNECTED = (
    "initrd: all of it was sent, but since then nothing has connected to the NFS port: does it "
    "have the NIC's driver, nfs and overlay (boot.initrd.availableKernelModules), and a network "
    "(boot.initrd.network.enable)?"
)
NEVER_MOUNTED = (
    "initrd: it has connected to the NFS port, but mounted nothing: its console has the error of "
    "mount; is the path /nixstore, and does the initrd have the client for its NFS version "
    "(boot.initrd.kernelModules: nfsv3, nfsv4)?"
)
WENT_SILENT = (
    "mount: stage 1 has mounted the store, then the network went silent: "
    "boot.initrd.network.flushBeforeStage2 must be false, and nothing in the initrd may take the "
    "boot NIC down; or the machine is off"
)
READS_NOTHING = (
    "mount: stage 1 has mounted the store and reads nothing, though its network answers, so "
    "flushBeforeStage2 is not the cause. Its console tells which of these it is: it waits for "
    "another file system or for somebody; an overlay whose lower directory was mounted too late "
    "(in its options: x-systemd.requires-mounts-for=); an emergency shell"
)
ENDED = (
    "mount: stage 1 has mounted the store, read nothing, and closed its connection: it has "
    "unmounted the store or restarted; look at its console"
)
UNKNOWN = (
    "mount: stage 1 has mounted the store, then the network went silent or nothing was read; which "
    "of the two cannot be told from here. One of these: boot.initrd.network.flushBeforeStage2 must "
    "be false; an overlay lacks x-systemd.requires-mounts-for=; stage 1 waits for somebody"
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
    began_at: float  # when the initrd was fetched
    has_connected: bool = False  # whether its address has connected to the NFS port
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
        """Watch a host whose initrd was fetched; once for each fetch, whoever tells of it."""
        known = self._watches.get(host.name)
        if known is not None and known.began_at == now:
            return
        self._watches[host.name] = Watch(host.name, host.addresses, Stage.INITRD, now, now)

    def forget(self, host: str) -> None:
        """Stop watching a host: it boots in another mode."""
        self._watches.pop(host, None)

    def end(self, host: str) -> list[Event]:
        """Stop watching a host whose agent reports now; return events that were not reported
        yet."""
        watch = self._watches.pop(host, None)
        return watch.untold() if watch is not None else []

    def connected(self, address: str) -> None:
        """Note a connection from an address that may mount the alias."""
        for watch in self._at(address):
            watch.has_connected = True

    def mounted(self, address: str, now: float) -> None:
        """Note that a connection from such an address has mounted the store."""
        for watch in self._at(address):
            if watch.stage == Stage.INITRD:
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

    def _at(self, address: str) -> list[Watch]:
        return [watch for watch in self._watches.values() if address in watch.addresses]

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
        silence: Callable[[str], Awaitable[float | None]],
    ) -> None:
        """`reads` returns the files that an address has read since the last call.

        `known` returns the host of a name, or None. `has_spoken` returns whether a host's machine
        has sent anything since a time, and `silence` for how many seconds a machine that has
        mounted has acknowledged nothing, or None if it holds no connection. TimeoutError if that
        cannot be told.
        """
        self._boots = boots
        self._reads = reads
        self._known = known
        self._has_spoken = has_spoken
        self._silence = silence

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
                    words = NEVER_MOUNTED if watch.has_connected else NEVER_CONNECTED
                    yield _complaint(watch, now, words)
            elif read:
                self._boots.forget(watch.host)
                yield Event(watch.host, Source.NFS, Stage.STAGE_2, now)
            elif not watch.complained:
                words = await self._diagnosis(watch)  # this also lets TCP ask the machine
                if _is_late(watch, now, NO_READ):
                    yield _complaint(watch, now, words)

    async def _diagnosis(self, watch: Watch) -> str:
        """Return why a machine that has mounted the store reads nothing, as far as its network
        tells."""
        if all(ip_address(address).is_loopback for address in watch.addresses):
            return UNKNOWN  # a virtual machine, whose TCP ends in the program that emulates it
        try:
            found = [await self._silence(address) for address in watch.addresses]
        except TimeoutError:
            return UNKNOWN
        silent = [seconds for seconds in found if seconds is not None]
        if not silent:
            return ENDED
        return WENT_SILENT if min(silent) >= SILENT else READS_NOTHING

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
