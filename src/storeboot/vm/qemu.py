"""A diskless machine in QEMU, with user networking (no root).

It starts iPXE from the NIC's own ROM, or a kernel that it is given directly.
"""

from __future__ import annotations

import asyncio
import os
import shutil
from base64 import b64encode
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from tempfile import TemporaryDirectory

import structlog
from qemu.qmp import QMPClient, QMPError

from storeboot.errors import BootError, CommandError
from storeboot.process import Child
from storeboot.vm.loader import Loaded

log = structlog.get_logger()

QEMU = "qemu-system-x86_64"
_INSTALL_QEMU = "install QEMU (on Debian: apt-get install qemu-system-x86)"
_INSTALL_ROM = "install the ROMs (on Debian: apt-get install ipxe-qemu)"
_ROM_PLACES = ("/usr/share/qemu", "/usr/lib/ipxe/qemu", "/usr/share/ipxe/qemu")
HOST_ADDRESS = "10.0.2.2"  # the host's loopback, for a guest with user networking
MAC = "52:54:00:12:34:56"  # of a machine that was given no other one
_DEBUG_PORT = 0x402  # where SeaBIOS writes its log


@dataclass(frozen=True, slots=True)
class MachineSpec:
    """The parts of a virtual machine."""

    url: str = ""  # of the iPXE script that its firmware loads
    loaded: Loaded | None = None  # instead of firmware: what it starts with directly
    mac: str = MAC
    memory: int = 2048  # MiB
    cpus: int = 2  # with KVM; see `arguments`
    disk: Path | None = None  # raw; only for tests which show that it is left alone
    reboots: bool = False  # otherwise a reboot ends it
    credentials: Mapping[str, str] = field(default_factory=dict)  # systemd's, by SMBIOS


def require_rom() -> None:
    """Find iPXE for the virtio NIC, for BIOS and UEFI in one file, with HTTP.

    QEMU must find it by itself, because only then does it adapt the ROM's PCI ids to the card.
    """
    for place in _ROM_PLACES:
        if Path(place, "efi-virtio.rom").is_file():
            return
    raise CommandError("the iPXE ROM efi-virtio.rom is not installed", _INSTALL_ROM)


def find_qemu() -> str:
    if shutil.which(QEMU) is None:
        raise CommandError(f"program {QEMU!r} is not installed", _INSTALL_QEMU)
    return QEMU


def arguments(spec: MachineSpec, *, kvm: bool, console: Path, qmp: Path) -> list[str]:
    """Return QEMU's command line.

    Emulated machines get one processor: with two, QEMU lets one run what the other is patching in
    the kernel's text, and now and then a boot dies of a stray int3.
    """
    network = "user,id=boot" + (f",bootfile={spec.url}" if spec.loaded is None else "")
    argv = [
        QEMU,
        "-nodefaults", "-no-user-config", "-display", "none",
        "-machine", "pc,graphics=off",  # firmware and iPXE write to the serial port
        "-accel", "kvm" if kvm else "tcg",
        "-cpu", "host" if kvm else "max",
        "-m", str(spec.memory),
        "-smp", str(spec.cpus if kvm else 1),
        "-serial", f"file:{console}",
        "-qmp", f"unix:{qmp}",
        "-netdev", network,  # without IPv6: iPXE would wait 16 s for a router
        "-device", f"virtio-net-pci,netdev=boot,mac={spec.mac}"
        + (",romfile=" if spec.loaded is not None else ""),
        "-device", "virtio-rng-pci",
    ]  # fmt: skip
    if spec.loaded is None:
        argv += ["-boot", "n"]
    else:
        argv += ["-kernel", f"{spec.loaded.kernel}", "-initrd", f"{spec.loaded.initrd}",
                 "-append", spec.loaded.command_line]  # fmt: skip
    if spec.disk is not None:
        argv += ["-drive", f"file={spec.disk},format=raw,if=virtio"]
    for name, text in spec.credentials.items():
        encoded = b64encode(text.encode()).decode()
        argv += ["-smbios", f"type=11,value=io.systemd.credential.binary:{name}={encoded}"]
    if not spec.reboots:
        argv.append("-no-reboot")
    return argv


def cpu_has_virtualisation(cpuinfo: str) -> bool:
    """Return whether a processor can run guests itself, according to /proc/cpuinfo.

    Without that there can still be KVM (pagetable virtual machines), which dies in the firmware.
    """
    flags = next((line for line in cpuinfo.splitlines() if line.startswith("flags")), "").split()
    return "vmx" in flags or "svm" in flags


async def kvm_works(directory: Path) -> bool:
    """Return whether KVM runs a guest with this machine's CPU: /dev/kvm alone proves nothing.

    This waits for the firmware's first output on its debug port.
    """
    if not os.access("/dev/kvm", os.R_OK | os.W_OK):
        return False
    if not cpu_has_virtualisation(await asyncio.to_thread(Path("/proc/cpuinfo").read_text)):
        return False
    words = directory / "kvm-probe"
    words.touch()
    argv = [find_qemu(), "-nodefaults", "-display", "none", "-accel", "kvm", "-cpu", "host",
            "-debugcon", f"file:{words}",
            "-global", f"isa-debugcon.iobase={_DEBUG_PORT:#x}"]  # fmt: skip
    probe = await Child.start(argv, output=directory / "kvm-probe.log")
    try:
        async with asyncio.timeout(10):
            # QEMU writes to a file and sends no event, so poll.
            while probe.status is None and not words.stat().st_size:  # noqa: ASYNC110
                await asyncio.sleep(0.05)
    except TimeoutError:
        return False
    finally:
        await probe.stop(1)
    return words.stat().st_size > 0


class VirtualMachine:
    """A running machine."""

    def __init__(self, child: Child, qmp: QMPClient, console: Path) -> None:
        self._child = child
        self._qmp = qmp
        self.console = console

    async def wait(self) -> None:
        """Wait until it is off."""
        status = await self._child.wait()
        if status:
            raise BootError(
                f"QEMU ended with status {status}", f"see {self.console.parent}/qemu.log"
            )

    @property
    def is_off(self) -> bool:
        return self._child.status is not None

    @property
    def pid(self) -> int:
        return self._child.pid

    async def freeze(self) -> None:
        """Stop its processors, so that it looks hung from outside."""
        await self._qmp.execute("stop")

    async def press_power_button(self) -> None:
        await self._qmp.execute("system_powerdown")

    async def press(self, *keys: str) -> None:
        """Press keys of its keyboard, one after the other, by their QKeyCode names."""
        for key in keys:
            pressed = [{"type": "qcode", "data": key}]
            await self._qmp.execute("send-key", {"keys": pressed})

    async def says(self, words: str, seconds: float) -> str:
        """Wait until its console has shown some text; return the end of its output."""
        async with asyncio.timeout(seconds):
            # QEMU writes to a file and sends no event, so poll.
            while words not in (said := self.console_tail(200)):  # noqa: ASYNC110
                await asyncio.sleep(0.2)
        return said

    def console_tail(self, lines: int = 20) -> str:
        text = self.console.read_text(errors="replace") if self.console.exists() else ""
        return "\n".join(text.replace("\r", "").splitlines()[-lines:])


@asynccontextmanager
async def running(
    spec: MachineSpec, directory: Path, *, kvm: bool
) -> AsyncIterator[VirtualMachine]:
    """Yield a machine with power on; it is off at the end of the block."""
    console = directory / "console.log"
    # A socket's path is limited to 108 bytes, which the directory's may exceed.
    with TemporaryDirectory(prefix="storeboot-") as short:
        socket = Path(short, "qmp")
        argv = arguments(spec, kvm=kvm, console=console, qmp=socket)
        if spec.loaded is None:
            require_rom()
        qmp = QMPClient("storeboot")
        qmp.logger.disabled = True
        await qmp.start_server(str(socket))
        child = await Child.start([find_qemu(), *argv[1:]], output=directory / "qemu.log")
        try:
            await _accept(qmp, child, directory)
            yield VirtualMachine(child, qmp, console)
        finally:
            with suppress(QMPError, OSError, EOFError):
                await qmp.disconnect()
            await child.stop()


async def _accept(qmp: QMPClient, child: Child, directory: Path) -> None:
    """Accept QEMU's connection; raise an error with its message if it ends instead."""
    accepting = asyncio.create_task(qmp.accept())
    ending = asyncio.create_task(child.wait())
    await asyncio.wait({accepting, ending}, timeout=30, return_when=asyncio.FIRST_COMPLETED)
    ending.cancel()
    if not accepting.done():
        accepting.cancel()
        words = (directory / "qemu.log").read_text(errors="replace").strip().splitlines()
        raise BootError(f"QEMU did not start: {words[-1] if words else 'no word from it'}")
    await accepting
