"""A machine that boots with storeboot's initrd, again and again, while the test does harm.

It is on the server's bridge: dnsmasq gives it its address, and it reads every file over NFS.
"""

from __future__ import annotations

import asyncio
import json
import re
from collections.abc import AsyncIterator, Awaitable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path

from e2e.systems import system
from network.lab import tap
from storeboot.process import Child, run
from storeboot.vm import uml
from storeboot.vm.demo.build import DemoSystem
from storeboot.vm.demo.uml_kernel import UmlKernel
from storeboot.vm.loader import Orders, read_script
from systemd.installed import ADDRESS, Installed

HOST, MAC = "lab2", "52:54:00:00:00:02"
ERRAND = f"{ADDRESS}:8099"  # where a machine that is up finds what it is to do
SECTION = f"""
[hosts.{HOST}]
mac = ["{MAC}"]
mode = "plain"
kernel_params = ["loglevel=5", "micro.run=http://{ERRAND}/off"]
"""
# Off again, once the agent has told what came before. By force, because user-mode Linux panics when
# a process is killed that is just forking, as init does it to all of them.
OFF = """
echo shutdown poweroff >/run/storeboot/events
while [ ! -e /run/storeboot/going-down ]; do sleep 0.1; done
poweroff -f
"""
SECONDS = 300.0  # until it says something or is off: an end, on a machine with other things to do
_UP = re.compile(r"^micro system ready after ([0-9.]+) s$", re.MULTILINE)
_WRONG = re.compile(r"failed in step|error|stale|call trace|bug:|panic", re.IGNORECASE)
_LINE_LOST = "storeboot: could not report"  # of the timeline, which stops no boot


@dataclass(frozen=True)
class BootingMachine:
    """A host of the server's that is switched on for one boot at a time."""

    service: Installed
    kernel: UmlKernel
    directory: Path
    seconds: list[float] = field(default_factory=list)  # from each kernel's start until it was up

    @asynccontextmanager
    async def boots(self, until: str) -> AsyncIterator[None]:
        """Let it boot. The block begins when it has said `until`; its end waits until it is off.

        AssertionError where it has not come up, has complained, or has not gone off again.
        """
        directory = self.directory / f"boot-{len(self.seconds)}"
        orders = await asyncio.to_thread(self._load, directory)
        network = self.service.machine.network
        spec = uml.UmlSpec(
            self.kernel, directory / "initrd", tuple(orders.command_line.split()), MAC,
            enter=tuple(network.argv()), tap=tap(network),
        )  # fmt: skip
        async with uml.running(spec, directory) as machine:
            await _within(machine.says(until, SECONDS), machine)
            yield
            await _within(machine.wait(), machine)
        said = machine.console.read_text(errors="replace").replace("\r", "")
        lines = [line for line in said.splitlines() if not line.startswith(_LINE_LOST)]
        wrong = [line for line in lines if _WRONG.search(line)]
        up = _UP.search(said)
        assert up is not None, said
        assert not wrong, (wrong, said)
        self.seconds.append(float(up[1]))

    def longest_delay(self) -> float:
        """Return by how many seconds a boot was held up at most, against the quickest one."""
        return round(max(self.seconds) - min(self.seconds), 2)

    def stages(self) -> set[str]:
        """Return what the server was told of the last boot."""
        told = json.loads(self.service.storeboot("timeline", HOST, "--json"))
        return {step["stage"] for step in told}

    def _load(self, directory: Path) -> Orders:
        """Fetch what iPXE would on the machine."""
        directory.mkdir()
        orders = read_script(self.service.fetch(f"/boot?mac={MAC}"), MAC)
        network = self.service.machine.network
        for name, url in (("kernel", orders.kernel), ("initrd", orders.initrd)):
            run(network.argv("busybox", "wget", "-q", "-O", directory / name, url))
        return orders


async def _within(end: Awaitable[object], machine: uml.UmlMachine) -> None:
    try:
        async with asyncio.timeout(SECONDS):
            await end
    except TimeoutError:
        raise AssertionError(f"the machine stands still:\n{machine.console_tail()}") from None


@asynccontextmanager
async def booting_machine(service: Installed, directory: Path) -> AsyncIterator[BootingMachine]:
    """Give a machine whose system is in the server's store and deployed to it."""
    built = await asyncio.to_thread(system, uml=True)
    assert built.uml is not None
    await asyncio.to_thread(_deploy, service, built)
    argv = service.machine.network.argv(
        "busybox", "httpd", "-f", "-p", ERRAND, "-h", _errand(directory)
    )
    errand = await Child.start(argv)
    try:
        yield BootingMachine(service, built.uml, directory)
    finally:
        await errand.stop(1)


def _deploy(service: Installed, built: DemoSystem) -> None:
    """Copy a system into the server's store as its guide has it, and give it to the host."""
    daemon = service.machine.root / "nix/var/nix/daemon-socket/socket"
    run([
        "nix", "--extra-experimental-features", "nix-command", "copy", "--no-check-sigs",
        "--from", built.store.root, "--to", f"unix://{daemon}", built.toplevel.text,
    ])  # fmt: skip
    service.storeboot("deploy", HOST, built.toplevel.text)


def _errand(directory: Path) -> Path:
    """Write what the machine fetches when it is up."""
    (directory / "www").mkdir(parents=True)
    (directory / "www" / "off").write_text(OFF)
    return directory / "www"
