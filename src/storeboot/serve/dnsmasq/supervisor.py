"""Runs dnsmasq beside the server, and restarts it when it ends or does not answer."""

from __future__ import annotations

import asyncio
import json
import os
import select
import signal
import time
from collections import OrderedDict, deque
from collections.abc import Awaitable, Callable, Iterable
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import TypeVar

import structlog
from sqlalchemy.exc import SQLAlchemyError

from storeboot import files
from storeboot.config import Config
from storeboot.dhcp.dnsmasq import Reservation, configuration, reservations, reserved
from storeboot.dhcp.faults import Fault, Faults
from storeboot.dhcp.firmware import spellings
from storeboot.dhcp.journal import STARTED, Journal, Seen
from storeboot.errors import CommandError, StorebootError
from storeboot.hosts.host import Host
from storeboot.protocol.stages import Stage
from storeboot.serve.dnsmasq import runner
from storeboot.serve.dnsmasq.link import Link
from storeboot.serve.dnsmasq.neighbours import neighbour
from storeboot.serve.dnsmasq.ports import RIGHTS, require_ports, wanted_ports
from storeboot.serve.dnsmasq.runner import Runner
from storeboot.serve.dnsmasq.tftp_probe import NAME, TftpProbe
from storeboot.systemd import dnsmasq_socket

log = structlog.get_logger()

START_SECONDS = 10.0
END_SECONDS = 3.0  # between asking dnsmasq to end and killing it, and again after that
PAUSES = (1.0, 2.0, 4.0, 8.0, 16.0, 30.0)  # seconds before the next start
FAULT_SECONDS = 60.0  # in which one fault is logged once
QUIET_SECONDS = 30.0  # in which a repeated message from one machine is not passed on again
COUNT_SECONDS = 2.0  # the same for a message that is only counted
MAX_HEARD = 4096
MAX_UNTOLD = 1024  # messages that wait for the witness, as while the database is away
STEADY = 10.0  # seconds after which a start counts as successful
_INSTALL_IPXE = "install iPXE (on Debian: apt-get install ipxe), or set dhcp.ipxe"

_Key = TypeVar("_Key")
Witness = Callable[[Seen], Awaitable[None]]


class Dnsmasq:
    """A dnsmasq, configured as the configuration asks for."""

    def __init__(
        self,
        config: Config,
        directory: Path,
        find_programs: Callable[[], dict[str, Path]],
        witness: Witness,
    ) -> None:
        """`find_programs` finds the iPXE programs; `witness` is called for each machine on its
        way."""
        self._config = config
        self._find_programs = find_programs
        self._witness = witness
        self._unit = dnsmasq_socket()
        self._quarters = runner.quarters(config.dhcp, directory, self._unit)
        self._file = directory / "dnsmasq.conf"
        self._state = directory / "state.json"
        self.places = replace(
            self._quarters.places(), tftp=directory / "tftp", reservations=directory / "hosts"
        )
        self._child: Runner | None = None
        self._tasks: list[asyncio.Task[None]] = []
        self._words: deque[str] = deque(maxlen=5)
        self._heard: OrderedDict[tuple[str, str, str], float] = OrderedDict()
        self._faults: OrderedDict[Fault, float] = OrderedDict()  # when each was logged last
        self._programs: tuple[str, ...] = ()
        self._news: asyncio.Queue[Seen] = asyncio.Queue(MAX_UNTOLD)
        self._probe = TftpProbe([network.own for network in config.networks.values()])
        self.starts = 0

    async def start(self, hosts: Iterable[Host]) -> None:
        """Start dnsmasq and return when it is ready; raise StorebootError with the reason if it
        cannot be."""
        await asyncio.to_thread(end_orphan, self._state, self._quarters.configuration)
        if self._unit is None:
            await asyncio.to_thread(require_ports, wanted_ports(self._config))
        try:
            await asyncio.to_thread(self._prepare, list(hosts))
        except OSError as error:
            raise StorebootError(f"cannot write dnsmasq's files: {error}", RIGHTS) from None
        await self._start()
        self._tasks = [asyncio.create_task(self._keep()), asyncio.create_task(self._tell_all())]

    async def stop(self) -> None:
        """End dnsmasq, in bounded time whatever state it is in."""
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        if self._child is not None:
            await self._child.stop(END_SECONDS)
        files.remove(self._state, durable=False)
        self._quarters.leave()

    def reserve(self, hosts: Iterable[Host]) -> None:
        """Write the reservations again after hosts have been added, changed or removed."""
        text = reservations(self._reserved(hosts))
        if self.places.reservations.read_text() == text:
            return
        self._write(self.places.reservations, text)
        if self._child is not None:
            self._child.send(signal.SIGHUP)

    def _reserved(self, hosts: Iterable[Host]) -> Iterable[Reservation]:
        said = ((host.macs, host.addresses, bool(host.serials)) for host in hosts)
        return reserved(said, self._config.networks.values())

    def _prepare(self, hosts: list[Host]) -> None:
        """Write the files that dnsmasq reads."""
        programs = self._find_programs()
        if not programs:
            raise CommandError("no iPXE is installed for any firmware", _INSTALL_IPXE)
        self._quarters.prepare()
        for name, source in programs.items():
            files.copy(source, self.places.tftp / name)
            for other in spellings(name):
                files.remove(self.places.tftp / other, durable=False)
                (self.places.tftp / other).symlink_to(name)
        self._programs = tuple(programs)
        self._write(self.places.reservations, reservations(self._reserved(hosts)))
        text = configuration(
            self._config.dhcp,
            self._config.networks,
            programs,
            self._quarters.places(),
            self._config.http.port,
        )
        self._write(self._file, text)

    def _write(self, file: Path, text: str) -> None:
        """Write a file, without syncing it: all of these files are written again at every start."""
        files.write(file, text, durable=False)

    async def _start(self) -> None:
        self._child = await self._run()
        self.starts += 1
        try:
            async with asyncio.timeout(START_SECONDS):
                async for line in self._child.lines():
                    self._words.append(line)
                    if STARTED.search(line):
                        break
                else:
                    raise StorebootError(f"dnsmasq does not start: {self._last_words()}", RIGHTS)
        except TimeoutError:
            await self._child.stop(END_SECONDS)
            raise StorebootError(
                f"dnsmasq has not answered within {START_SECONDS:.0f} s",
                "check the load of processor and disk",
            ) from None
        self._tell(self._child.pid)
        log.info("dhcp.started", mode=self._config.dhcp.mode, pid=self._child.pid)

    async def _run(self) -> Runner:
        """Start dnsmasq, in its own unit if there is one."""
        ports = wanted_ports(self._config)
        if self._unit is not None:
            return await Link.start(self._unit, ports)
        await asyncio.to_thread(require_ports, ports)
        return await runner.start(self._config.dhcp, self._quarters)

    async def _keep(self) -> None:
        """Observe dnsmasq, and restart it when it ends or hangs, with longer and longer pauses."""
        failures = 0
        while True:
            since = time.monotonic()
            if self._child is not None:
                await self._attend(self._child)
                self._child = None
            failures = 0 if time.monotonic() - since > STEADY else failures + 1
            pause = PAUSES[min(failures, len(PAUSES)) - 1] if failures else 0.0
            log.error("dhcp.ended", words=self._last_words(), again_in=pause)
            await asyncio.sleep(pause)
            try:
                await asyncio.to_thread(self._tell, None)
                await self._start()
            except (StorebootError, OSError) as error:
                log.error("dhcp.not_started", reason=str(error))
                self._child = None

    async def _attend(self, child: Runner) -> None:
        """Return when dnsmasq has ended; kill it if it does not answer any more."""
        listening = asyncio.create_task(self._listen(child))
        asking = asyncio.create_task(self._probe.until_silent())
        try:
            await asyncio.wait((listening, asking), return_when=asyncio.FIRST_COMPLETED)
            if not listening.done():
                log.error("dhcp.silent", pid=child.pid)
                self._words.append("dnsmasq: it answers no more, and was killed")
                child.send(signal.SIGKILL)
                await asyncio.wait((listening,), timeout=END_SECONDS)
        finally:
            for task in (listening, asking):
                task.cancel()
            await asyncio.gather(listening, asking, return_exceptions=True)
        await child.stop(END_SECONDS)

    async def _listen(self, child: Runner) -> None:
        journal = Journal(strangers=True)
        faults = Faults(self._quarters.places().tftp, self._programs)
        async for line in child.lines():
            if NAME in line:
                continue
            self._words.append(line)
            log.debug("dhcp.line", line=line)
            seen = journal.line(line)
            if seen is not None:
                self._pass_on(seen)
            fault = faults.line(line)
            if fault is not None and _is_due(self._faults, fault, FAULT_SECONDS):
                log.warning(fault.event, **dict(fault.about), hint=fault.hint)
            # Lines that already wait are read without a pause, so let other tasks run.
            await asyncio.sleep(0)

    def _pass_on(self, seen: Seen) -> None:
        """Pass a message on to the witness: whether it is new, or to be counted only."""
        if not seen.mac:
            seen = replace(seen, mac=neighbour(seen.address))
        who = seen.mac or seen.address
        key = (who, seen.stage, seen.detail if seen.stage == Stage.ADDRESS else "")
        is_news = self._is_due(key, QUIET_SECONDS)
        if is_news or self._is_due((*key[:2], f"{key[2]}, again"), COUNT_SECONDS):
            with suppress(asyncio.QueueFull):  # dnsmasq would hang at a full pipe
                self._news.put_nowait(replace(seen, again=not is_news))

    def _is_due(self, key: tuple[str, str, str], seconds: float) -> bool:
        """Return whether a message is new, or its last copy was passed on long enough ago.

        Each message that is passed on costs the database a question, and a new one a row.
        """
        return _is_due(self._heard, key, seconds)

    async def _tell_all(self) -> None:
        """Pass messages on to the witness. A separate task, because the witness may wait and
        dnsmasq must not."""
        while True:
            seen = await self._news.get()
            try:
                await self._witness(seen)
            except (SQLAlchemyError, StorebootError, OSError) as error:
                log.error("dhcp.not_recorded", mac=seen.mac, stage=seen.stage, reason=str(error))

    def _tell(self, pid: int | None) -> None:
        """Write dnsmasq's state for `storeboot status`, another process. A full disk is ignored."""
        said = {"pid": pid, "starts": self.starts, "words": self._last_words()}
        with suppress(OSError):
            self._write(self._state, json.dumps(said) + "\n")

    def _last_words(self) -> str:
        said = [line for line in self._words if "FAILED to start up" not in line]
        words = said[-1] if said else "no word from it"
        return words.partition(": ")[2] or words


def _is_due(table: OrderedDict[_Key, float], key: _Key, seconds: float) -> bool:
    """Return whether the last time that this was due is `seconds` ago, and note that it is now.

    The table forgets what was not heard of for longest.
    """
    now = time.monotonic()
    last = table.pop(key, None)
    if last is not None and now - last < seconds:
        table[key] = last
        return False
    table[key] = now
    while len(table) > MAX_HEARD:
        table.popitem(last=False)
    return True


def end_orphan(state: Path, file: Path) -> None:
    """End the dnsmasq that a killed server has left behind, because it holds the ports.

    Blocks for at most twice END_SECONDS.
    """
    try:
        pid = int(json.loads(state.read_text())["pid"] or 0)
    except (OSError, ValueError, KeyError, TypeError):
        return
    try:
        process = os.pidfd_open(pid)
    except (OSError, OverflowError):  # it is gone, or no such number is a process
        return
    ended = select.poll()
    ended.register(process, select.POLLIN)
    try:
        for number in (signal.SIGTERM, signal.SIGKILL):  # a stopped one reacts only to the second
            if not _is_ours(pid, file):
                return
            log.warning("dhcp.orphan", pid=pid, signal=number.name)
            with suppress(ProcessLookupError, PermissionError):
                signal.pidfd_send_signal(process, number)
            # Ready once it is a zombie, and so has closed its sockets; its command line is gone
            # before that.
            if ended.poll(END_SECONDS * 1000):
                return
    finally:
        os.close(process)


def _is_ours(pid: int, file: Path) -> bool:
    """Return whether this process is a dnsmasq with our configuration."""
    try:
        words = Path(f"/proc/{pid}/cmdline").read_bytes().split(b"\0")
    except OSError:
        return False
    return f"--conf-file={file}".encode() in words
