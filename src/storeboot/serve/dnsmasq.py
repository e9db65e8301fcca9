"""dnsmasq beside the server: started, listened to, started again when it ends."""

from __future__ import annotations

import asyncio
import errno
import json
import os
import shutil
import signal
import socket
import time
from collections import OrderedDict, deque
from collections.abc import Awaitable, Callable, Iterable
from contextlib import suppress
from pathlib import Path

import structlog
from sqlalchemy.exc import SQLAlchemyError

from storeboot.config import Config
from storeboot.dhcp.dnsmasq import Places, Reservation, configuration, reservations, reserved
from storeboot.dhcp.firmware import find_programs
from storeboot.dhcp.journal import ADDRESS, STARTED, Journal, Seen
from storeboot.errors import CommandError, StorebootError
from storeboot.hosts.host import Host
from storeboot.process import Child, find_program

log = structlog.get_logger()

START_SECONDS = 10.0
PAUSES = (1.0, 2.0, 4.0, 8.0, 16.0, 30.0)  # seconds before the next start
QUIET_SECONDS = 30.0  # in which a machine that says the same again is not news
MAX_HEARD = 4096
STEADY = 60.0  # seconds after which a start counts as one that went well
TFTP_PORT, PXE_PORT = 69, 4011
_INSTALL = "install dnsmasq (on Debian: apt-get install dnsmasq-base)"
_INSTALL_IPXE = "install iPXE (on Debian: apt-get install ipxe), or set dhcp.ipxe"
_RIGHTS = "run as root, or with CAP_NET_BIND_SERVICE, CAP_NET_ADMIN and CAP_NET_RAW"

Witness = Callable[[Seen], Awaitable[None]]


class Dnsmasq:
    """What the configuration asks for; `witness` is told of machines on their way."""

    def __init__(self, config: Config, directory: Path, witness: Witness) -> None:
        self._config = config
        self._witness = witness
        self._file = directory / "dnsmasq.conf"
        self._state = directory / "state.json"
        self.places = Places(
            tftp=directory / "tftp",
            reservations=directory / "hosts",
            leases=directory / "leases",
        )
        self._child: Child | None = None
        self._keeper: asyncio.Task[None] | None = None
        self._words: deque[str] = deque(maxlen=5)
        self._heard: OrderedDict[tuple[str, str, str], float] = OrderedDict()
        self.starts = 0
        self.programs: dict[str, Path] = {}

    async def start(self, hosts: Iterable[Host]) -> None:
        """Ready to answer; StorebootError with the reason where it cannot."""
        await asyncio.to_thread(self._prepare, list(hosts))
        await asyncio.to_thread(end_orphan, self._state, self._file)
        await asyncio.to_thread(require_ports, self._config)
        await self._start()
        self._keeper = asyncio.create_task(self._keep())

    async def stop(self) -> None:
        if self._keeper is not None:
            self._keeper.cancel()
            await asyncio.gather(self._keeper, return_exceptions=True)
        if self._child is not None:
            await self._child.stop()
        self._state.unlink(missing_ok=True)

    def reserve(self, hosts: Iterable[Host]) -> None:
        """Hosts have been added, changed or removed."""
        text = reservations(self._reserved(hosts))
        if self.places.reservations.read_text() == text:
            return
        _write(self.places.reservations, text)
        if self._child is not None:
            self._child.send(signal.SIGHUP)

    def _reserved(self, hosts: Iterable[Host]) -> Iterable[Reservation]:
        said = ((host.macs, host.addresses) for host in hosts)
        return reserved(said, self._config.networks.values())

    def _prepare(self, hosts: list[Host]) -> None:
        """The files that it reads."""
        self.programs = programs = find_programs(self._config.dhcp.ipxe)
        if not programs:
            raise CommandError("no iPXE is installed for any firmware", _INSTALL_IPXE)
        self.places.tftp.mkdir(parents=True, exist_ok=True)
        for name, source in programs.items():
            copy_file(source, self.places.tftp / name)
        _write(self.places.reservations, reservations(self._reserved(hosts)))
        text = configuration(
            self._config.dhcp, self._config.networks, programs, self.places, self._config.http.port
        )
        _write(self._file, text)

    async def _start(self) -> None:
        program = self._config.dhcp.dnsmasq or find_program("dnsmasq", _INSTALL)
        argv: list[str | Path] = [program, f"--conf-file={self._file}"]
        if os.geteuid() == 0:
            # It would become somebody who cannot write where it has to.
            argv += ["--user=root", "--group=root"]
        self._child = await Child.start(argv, piped=True)
        self.starts += 1
        try:
            async with asyncio.timeout(START_SECONDS):
                async for line in self._child.lines():
                    self._words.append(line)
                    if STARTED.search(line):
                        break
                else:
                    await self._child.wait()
                    raise StorebootError(f"dnsmasq does not start: {self._last_words()}", _RIGHTS)
        except TimeoutError:
            await self._child.stop()
            raise StorebootError(
                f"dnsmasq says nothing for {START_SECONDS:.0f} s", "look at its processor and disk"
            ) from None
        self._tell(self._child.pid)
        log.info("dhcp.started", mode=self._config.dhcp.mode, pid=self._child.pid)

    async def _keep(self) -> None:
        """Listen to it; when it ends, start it again, later and later."""
        failures = 0
        while True:
            since = time.monotonic()
            await self._listen()
            failures = 0 if time.monotonic() - since > STEADY else failures + 1
            pause = PAUSES[min(failures, len(PAUSES)) - 1] if failures else 0.0
            log.error("dhcp.ended", words=self._last_words(), again_in=pause)
            await asyncio.sleep(pause)
            try:
                self._tell(None)
                await self._start()
            except (StorebootError, OSError) as error:
                log.error("dhcp.not_started", reason=str(error))

    async def _listen(self) -> None:
        assert self._child is not None
        journal = Journal()
        async for line in self._child.lines():
            self._words.append(line)
            log.debug("dhcp.line", line=line)
            seen = journal.line(line)
            if seen is not None and self._is_news(seen):
                await self._tell_of(seen)
            # Lines that wait already are read without a pause, and others want to be heard.
            await asyncio.sleep(0)
        await self._child.wait()

    def _is_news(self, seen: Seen) -> bool:
        """Whoever repeats itself is heard once in a while: each time costs the database a row."""
        key = (seen.mac, seen.stage, seen.detail if seen.stage == ADDRESS else "")
        now = time.monotonic()
        last = self._heard.pop(key, -QUIET_SECONDS)
        self._heard[key] = now if now - last >= QUIET_SECONDS else last
        while len(self._heard) > MAX_HEARD:
            self._heard.popitem(last=False)
        return now - last >= QUIET_SECONDS

    async def _tell_of(self, seen: Seen) -> None:
        """Nothing that goes wrong with it may keep dnsmasq from being listened to: it would stand
        still with the pipe full."""
        try:
            await self._witness(seen)
        except (SQLAlchemyError, StorebootError, OSError) as error:
            log.error("dhcp.not_recorded", mac=seen.mac, stage=seen.stage, reason=str(error))

    def _tell(self, pid: int | None) -> None:
        """For `storeboot status`, which is another process."""
        said = {"pid": pid, "starts": self.starts, "words": self._last_words()}
        _write(self._state, json.dumps(said) + "\n")

    def _last_words(self) -> str:
        said = [line for line in self._words if "FAILED to start up" not in line]
        words = said[-1] if said else "no word from it"
        return words.partition(": ")[2] or words


def end_orphan(state: Path, file: Path) -> None:
    """Of a server that was killed dnsmasq is left, with the ports that are needed. Blocking."""
    try:
        pid = int(json.loads(state.read_text())["pid"] or 0)
        words = Path(f"/proc/{pid}/cmdline").read_bytes().split(b"\0")
    except (OSError, ValueError, KeyError):
        return
    if f"--conf-file={file}".encode() not in words:
        return
    log.warning("dhcp.orphan", pid=pid)
    deadline = time.monotonic() + START_SECONDS
    with suppress(ProcessLookupError):
        os.kill(pid, signal.SIGTERM)
        while time.monotonic() < deadline:
            os.kill(pid, 0)
            time.sleep(0.05)  # it is not our child, and tells us nothing


def require_ports(config: Config) -> None:
    """Another DHCP server here would answer the same machines, and dnsmasq would not say so."""
    wanted = {"tftp": [TFTP_PORT], "proxy": [TFTP_PORT, config.dhcp.port, PXE_PORT]}
    ports = wanted.get(config.dhcp.mode, [TFTP_PORT, config.dhcp.port])
    for name, network in config.networks.items():
        for port in ports:
            with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
                try:
                    device = network.interface.encode()
                    probe.setsockopt(socket.SOL_SOCKET, socket.SO_BINDTODEVICE, device)
                    probe.bind(("", port))
                except OSError as error:
                    raise _refused(error, name, network.interface, port) from None


def _refused(error: OSError, network: str, interface: str, port: int) -> StorebootError:
    where = f"UDP port {port} on {interface}"
    if error.errno == errno.EADDRINUSE and port == TFTP_PORT:
        return StorebootError(
            f"{where} is taken: another TFTP server runs on this machine",
            f"stop it; `ss -lunp 'sport = :{port}'` shows which it is",
        )
    if error.errno == errno.EADDRINUSE:
        return StorebootError(
            f"{where} is taken: another DHCP server runs on this machine",
            "stop it, or set dhcp.mode to tftp and give it the lines of `storeboot dhcp-snippet`; "
            f"`ss -lunp 'sport = :{port}'` shows which it is",
        )
    if error.errno in (errno.EACCES, errno.EPERM):
        return StorebootError(f"may not use {where}", _RIGHTS)
    if error.errno == errno.ENODEV:
        return StorebootError(
            f"there is no interface {interface}", f"correct networks.{network}.interface"
        )
    return StorebootError(f"cannot use {where}: {error.strerror}", _RIGHTS)


def copy_file(source: Path, goal: Path) -> None:
    """Whole under its name, and only when it differs."""
    if goal.is_file() and goal.read_bytes() == source.read_bytes():
        return
    partial = goal.with_name(f".{goal.name}.partial")
    shutil.copyfile(source, partial)
    partial.chmod(0o644)
    partial.replace(goal)


def _write(file: Path, text: str) -> None:
    file.parent.mkdir(parents=True, exist_ok=True)
    partial = file.with_name(f".{file.name}.partial")
    partial.write_text(text)
    partial.replace(file)
