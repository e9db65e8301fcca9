"""A diskless machine in user-mode Linux: a whole kernel as a program, without emulation.

slirp4netns is its network. It shows a guest the same addresses as QEMU's user networking, and needs
no root: the host's loopback is 10.0.2.2. Instead, the network can be a tap interface of the host.
There is no firmware: the machine starts with a kernel, an initrd and a command line.
"""

from __future__ import annotations

import asyncio
import os
import signal
from base64 import b64encode
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from tempfile import TemporaryDirectory

from storeboot.errors import BootError
from storeboot.process import Child, find_program
from storeboot.vm.demo.uml_kernel import UmlKernel

_INSTALL_SLIRP = "install slirp4netns (on Debian: apt-get install slirp4netns)"
_NETWORK_SECONDS = 30.0
_CONSOLE = "console=tty0"
_TMPFS = "/dev/shm"


@dataclass(frozen=True, slots=True)
class UmlSpec:
    """The parts of a user-mode machine."""

    kernel: UmlKernel
    initrd: Path
    params: tuple[str, ...] = ()  # for the kernel's command line
    mac: str = "52:54:00:12:34:56"
    memory: int = 512  # MiB
    credentials: Mapping[str, str] = field(default_factory=dict)  # systemd's, some 1,500 bytes
    enter: tuple[str, ...] = ()  # words before its programs, such as `ip netns exec NAME`
    tap: str | None = None  # its interface on the host, instead of a user-mode network


def arguments(spec: UmlSpec, *, network: str, directory: Path) -> list[str | Path]:
    """Return the command line of a machine; `network` is its vec0's transport and where that ends.

    User-mode Linux keeps its memory in a file below TMPDIR. It has its own consoles, and passes
    options that it does not know on to the kernel.
    """
    kernel = spec.kernel
    return [
        *spec.enter, "env", f"TMPDIR={directory}", f"LD_LIBRARY_PATH={kernel.libraries}",
        f"LD_PRELOAD={kernel.preload}",
        kernel.program,
        f"mem={spec.memory}M", f"uml_dir={directory}", "umid=machine",
        f"initrd={spec.initrd}",
        f"vec0:transport={network},mac={spec.mac},depth=128,gro=1",
        "con0=null,fd:1", "con=null", "ssl=null", _CONSOLE,
        *(word for word in spec.params if not word.startswith(("console=", "initrd="))),
        *(f"systemd.set_credential_binary={name}:{b64encode(text.encode()).decode()}"
          for name, text in spec.credentials.items()),
    ]  # fmt: skip


class UmlMachine:
    """A running machine."""

    def __init__(self, child: Child, console: Path) -> None:
        self._child = child
        self.console = console

    async def wait(self) -> None:
        """Wait until it is off."""
        status = await self._child.wait()
        if status:
            raise BootError(
                f"user-mode Linux ended with status {status}:\n{self.console_tail()}",
                f"console: {self.console}",
            )

    @property
    def is_off(self) -> bool:
        return self._child.status is not None

    @property
    def pid(self) -> int:
        return self._child.pid

    async def freeze(self) -> None:
        """Stop all of its processes, so that it looks hung from outside."""
        os.killpg(self.pid, signal.SIGSTOP)

    async def says(self, words: str, seconds: float) -> str:
        """Wait until the console has shown some text; return the end of its output."""
        async with asyncio.timeout(seconds):
            # It writes to a file and sends no event, so poll.
            while words not in (said := self.console_tail(200)):  # noqa: ASYNC110
                await asyncio.sleep(0.1)
        return said

    def console_tail(self, lines: int = 20) -> str:
        text = self.console.read_text(errors="replace") if self.console.exists() else ""
        return "\n".join(text.replace("\r", "").splitlines()[-lines:])


@asynccontextmanager
async def running(spec: UmlSpec, directory: Path) -> AsyncIterator[UmlMachine]:
    """Yield a machine with power on; it and all of its processes end with the block."""
    console = directory / "console.log"
    # A socket's path is limited to 108 bytes, which the directory's may exceed.
    with TemporaryDirectory(prefix="storeboot-", dir=_memory_place(spec.memory)) as short:
        async with _network(spec, Path(short, "network")) as network:
            argv = arguments(spec, network=network, directory=Path(short))
            # The loader is named relative to the kernel's own directory.
            child = await Child.start(argv, output=console, cwd=spec.kernel.program.parent)
            try:
                yield UmlMachine(child, console)
            finally:
                await _end(child)


def _memory_place(memory: int) -> str | None:
    """Return where to keep a machine's memory, in MiB: on a tmpfs with room, or None for /tmp."""
    try:
        found = os.statvfs(_TMPFS)
    except FileNotFoundError:
        return None
    has_room = found.f_bavail * found.f_frsize >= memory << 20
    return _TMPFS if has_room and not found.f_flag & os.ST_NOEXEC else None


async def _end(child: Child) -> None:
    """End the machine, and the processes that represent those of the guest.

    The kernel is killed: if it were asked to end, it would first end its guest's processes one by
    one.
    """
    with suppress(ProcessLookupError):
        os.killpg(child.pid, signal.SIGKILL)
    await child.wait()


@asynccontextmanager
async def _network(spec: UmlSpec, socket: Path) -> AsyncIterator[str]:
    """Yield the transport to an interface, or to a user-mode network that waits for one machine."""
    if spec.tap is not None:
        yield f"tap,ifname={spec.tap}"
        return
    slirp = find_program("slirp4netns", _INSTALL_SLIRP)
    child = await Child.start([*spec.enter, slirp, "--target-type=bess", socket], piped=True)
    said: list[str] = []
    listens = asyncio.Event()

    async def listen() -> None:
        """Read all of its output, so that it never waits for a reader."""
        async for line in child.lines():
            said.append(line)
            if line.startswith("Waiting for connection"):
                listens.set()
        listens.set()

    listening = asyncio.create_task(listen())
    try:
        async with asyncio.timeout(_NETWORK_SECONDS):
            await listens.wait()
        if listening.done():
            raise BootError(f"slirp4netns did not start: {' '.join(said)}")
        yield f"bess,dst={socket}"
    finally:
        await child.stop(2)
        await listening
