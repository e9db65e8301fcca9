"""A trial: a server and a virtual machine, from power on to a verified report and power off."""

from __future__ import annotations

import asyncio
import itertools
import os
import socket
import time
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path

from storeboot.boot.report import (
    GuestReport,
    compare,
    parse_attributes,
    parse_facts,
    parse_hashes,
    parse_mountstats,
)
from storeboot.boot.timeline import Step, steps
from storeboot.config import (
    AgentSection,
    Config,
    HostSection,
    HttpSection,
    InitrdSection,
    Mode,
    NfsSection,
    NfsVersion,
    PacksSection,
    ServerSection,
    StoreSection,
)
from storeboot.errors import BootError
from storeboot.hosts.boots import Boot
from storeboot.nfs.limits import LEASE_SECONDS
from storeboot.nix.store import Store, StorePath
from storeboot.protocol.orders import Order
from storeboot.protocol.parameters import Parameter
from storeboot.protocol.reports import ReportPart
from storeboot.protocol.stages import Stage
from storeboot.serve import server
from storeboot.vm import qemu, uml
from storeboot.vm.demo.uml_kernel import UmlKernel
from storeboot.vm.hashes import closure_attributes, closure_hashes
from storeboot.vm.loader import load

Machine = qemu.VirtualMachine | uml.UmlMachine

HOST = "demo"
BOOT_SECONDS = 600.0  # until multi-user; emulation on a busy machine is slow
REPORT_SECONDS = 900.0
POWEROFF_SECONDS = 120.0


_PORTS = tuple(range(first, first + 64) for first in range(12_000, 32_000, 64))
_turns = itertools.count()


@dataclass(frozen=True, slots=True)
class TrialSpec:
    """What to try."""

    store: Store
    system: StorePath
    directory: Path  # for state, console and logs
    nfs_version: NfsVersion = "3"
    mode: Mode = "pack"
    nfs_lease: int = LEASE_SECONDS
    least_files: int = 5000
    has_nix: bool = True
    memory: int = 2048  # MiB
    kernel_params: tuple[str, ...] = ("console=ttyS0",)
    drivers: tuple[str, ...] = ()
    disk: Path | None = None  # a local disk
    credentials: Mapping[str, str] = field(default_factory=dict)  # of its systemd
    settings: Mapping[str, object] = field(default_factory=dict)  # more settings of the host
    sample: int = 1  # the machine's report hashes one file of so many
    declared: bool = True  # otherwise the host boots what is deployed to it
    reboots: bool = False  # otherwise a reboot ends the machine
    firmware: bool = True  # otherwise the machine gets the kernel that the server's script names
    uml: UmlKernel | None = None  # user-mode Linux instead of QEMU; it has no firmware


@dataclass(frozen=True, slots=True)
class Outcome:
    """How a trial ended. Times are in seconds since power on."""

    steps: list[Step]
    report: GuestReport
    poweroff_seconds: float
    boot: Boot


Progress = Callable[[str], None]


def free_ports(count: int) -> list[int]:
    """Return free ports of loopback, not the same ones again soon.

    They are outside the range that Linux gives to connections, and other processes start elsewhere:
    a port that was free a moment ago may not be if trials run side by side.
    """
    own = _PORTS[os.getpid() % len(_PORTS)]
    found: list[int] = []
    for _ in own:
        port = own[next(_turns) % len(own)]
        with socket.socket() as probe, suppress(OSError):
            probe.bind(("127.0.0.1", port))
            found.append(port)
        if len(found) == count:
            return found
    raise BootError(f"no {count} ports of {own} are free")


def trial_config(spec: TrialSpec, mac: str = qemu.MAC) -> Config:
    """Return the server's configuration: on loopback, which guests see as 10.0.2.2."""
    http_port, nfs_port = free_ports(2)
    return Config(
        server=ServerSection(address=qemu.HOST_ADDRESS, state_directory=spec.directory / "state"),
        store=StoreSection(root=spec.store.root),
        http=HttpSection(listen="127.0.0.1", port=http_port),
        nfs=NfsSection(
            listen="127.0.0.1",
            port=nfs_port,
            version=spec.nfs_version,
            lease=spec.nfs_lease,
            workers=0,
            alias=spec.mode == "native",
        ),
        initrd=InitrdSection(drivers=spec.drivers),
        agent=AgentSection(heartbeat=3),
        packs=PacksSection(learn_seconds=2),
        hosts={
            HOST: HostSection.model_validate(
                {
                    "system": spec.system.text if spec.declared else None,
                    "mac": (mac,),
                    "mode": spec.mode,
                    "address": ("127.0.0.1",) if spec.mode == "native" else (),
                    "kernel_params": (*spec.kernel_params, *_sampled(spec)),
                    **spec.settings,
                }
            )
        },
    )


def _sampled(spec: TrialSpec) -> tuple[str, ...]:
    return (Parameter.SAMPLE.given(str(spec.sample)),) if spec.sample > 1 else ()


class Trial:
    """A running server and machine, and methods that wait for events."""

    def __init__(
        self,
        running: server.Server,
        machine: Machine,
        power_on: float,
        host: str = HOST,
    ) -> None:
        self.server = running
        self.service = running.service
        self.machine = machine
        self.power_on = power_on
        self.host = host

    @property
    def emulated(self) -> qemu.VirtualMachine:
        """Return the machine, which must be one of QEMU's."""
        assert isinstance(self.machine, qemu.VirtualMachine)
        return self.machine

    def boot(self) -> Boot | None:
        found = self.service.boots.latest(self.host)
        return found if found is not None and found.began_at >= self.power_on else None

    def stages(self) -> list[Step]:
        events = self.service.boots.events_since(self.host, self.power_on)
        return steps(events, self.power_on)

    async def reach(self, stage: str, seconds: float = BOOT_SECONDS) -> Boot:
        """Wait until the machine reports a stage from `begin` on; BootError if it fails or dies."""
        await self.until(lambda: self._has_reached(stage), seconds, f"stage {stage}")
        boot = self.boot()
        if boot is None:
            raise BootError(f"stage {stage} was reached without a boot")
        return boot

    def _has_reached(self, stage: str) -> bool:
        passed = {step.stage: step for step in self.stages()}
        if Stage.FAILED in passed and stage != Stage.FAILED:
            words = passed[Stage.FAILED].detail.partition("\n")[0]
            raise BootError(f"the machine failed: {words}", f"console: {self.machine.console}")
        return stage in passed

    async def report(
        self, boot: Boot, expected: dict[bytes, str], attributes: dict[bytes, str], sample: int = 1
    ) -> GuestReport:
        """Ask the machine for its report, and compare it with what the server has.

        The machine was told to hash one file of `sample`.
        """
        self.service.inventory.orders.give(boot.id, Order.REPORT)
        facts = self.service.state.reports.file(boot.id, ReportPart.FACTS)
        await self.until(facts.exists, REPORT_SECONDS, "the machine's report")
        part = self.service.state.reports.file
        theirs = parse_hashes(part(boot.id, ReportPart.HASHES).read_bytes())
        if sample > 1:
            expected = {path: said for path, said in expected.items() if path in theirs}
        seen = part(boot.id, ReportPart.ATTRIBUTES)  # only machines with a pack need these checked
        return GuestReport(
            facts=parse_facts(facts.read_text()),
            files_hashed=len(theirs),
            mismatches=compare(theirs, expected),
            boot=parse_mountstats(part(boot.id, ReportPart.MOUNTSTATS).read_text()),
            after=parse_mountstats(part(boot.id, ReportPart.MOUNTSTATS_AFTER).read_text()),
            other_attributes=compare(parse_attributes(seen.read_bytes()), attributes)
            if seen.exists()
            else (),
        )

    async def power_off(self, boot: Boot, seconds: float = POWEROFF_SECONDS) -> float:
        """Ask the machine to power off; return the seconds that it took."""
        self.service.inventory.orders.give(boot.id, Order.POWEROFF)
        await self.reach(Stage.SHUTDOWN, 120)
        return await self.wait_off(seconds)

    async def wait_off(self, seconds: float) -> float:
        start = time.monotonic()
        try:
            async with asyncio.timeout(seconds):
                await self.machine.wait()
        except TimeoutError:
            raise BootError(
                f"the machine is still on {seconds:.0f} s after it was asked to power off",
                f"console: {self.machine.console}",
            ) from None
        return time.monotonic() - start

    async def until(self, condition: Callable[[], bool], seconds: float, what: str) -> None:
        """Wait for a condition: checked at every event, and at times to see whether QEMU lives."""
        deadline = time.monotonic() + seconds
        while not condition():
            if self.machine.is_off:
                raise BootError(
                    f"the machine went off before {what}:\n{self.machine.console_tail()}",
                    f"console: {self.machine.console}",
                )
            if time.monotonic() > deadline:
                at = self.stages()[-1].stage if self.stages() else "power on"
                raise BootError(
                    f"no {what} within {seconds:.0f} s; the machine is at {at!r}:\n"
                    f"{self.machine.console_tail()}",
                    f"console: {self.machine.console}",
                )
            try:
                async with asyncio.timeout(1), self.service.changed:
                    await self.service.changed.wait()
            except TimeoutError:
                continue


async def run_trial(spec: TrialSpec, progress: Progress) -> Outcome:
    """Boot, verify, power off; return how it went."""
    async with started(spec, progress) as trial:
        boot = await trial.reach(Stage.MULTI_USER)
        report = await verify(spec, trial, boot, progress)
        seconds = await trial.power_off(boot)
        return Outcome(trial.stages(), report, seconds, boot)


@asynccontextmanager
async def started(
    spec: TrialSpec,
    progress: Progress = lambda _text: None,
    prepare: Callable[[server.Server], object] = lambda _server: None,
) -> AsyncIterator[Trial]:
    """Yield a server and, once `prepare` has had the server, a machine with power on."""
    spec.directory.mkdir(parents=True, exist_ok=True)
    async with server.running(trial_config(spec), progress) as running:
        prepare(running)
        power_on = time.time()
        async with switched_on(spec, running, progress) as machine:
            trial = Trial(running, machine, power_on)
            watcher = asyncio.create_task(_tell(trial, progress))
            try:
                yield trial
            finally:
                watcher.cancel()


@asynccontextmanager
async def switched_on(
    spec: TrialSpec,
    running: server.Server,
    progress: Progress = lambda _text: None,
    mac: str = qemu.MAC,
) -> AsyncIterator[Machine]:
    """Yield a machine of the kind that the trial needs, with power on."""
    url = running.service.url
    if spec.uml is not None:
        progress("a machine of user-mode Linux")
        loaded = await load(url, _from_here(running), mac, spec.directory)
        words = tuple(loaded.command_line.split())
        machine_spec = uml.UmlSpec(
            spec.uml, loaded.initrd, words, mac, spec.memory, spec.credentials
        )
        async with uml.running(machine_spec, spec.directory) as machine:
            yield machine
        return
    kvm = await qemu.kvm_works(spec.directory)
    progress("acceleration: KVM" if kvm else "acceleration: none (software emulation)")
    qemu_spec = qemu.MachineSpec(
        url=f"{url}/boot.ipxe",
        loaded=None if spec.firmware else await load(url, _from_here(running), mac, spec.directory),
        mac=mac,
        memory=spec.memory,
        disk=spec.disk,
        reboots=spec.reboots,
        credentials=spec.credentials,
    )
    async with qemu.running(qemu_spec, spec.directory, kvm=kvm) as emulated:
        yield emulated


def _from_here(running: server.Server) -> str:
    """Return the server's URL on the host's own loopback."""
    return f"http://127.0.0.1:{running.service.config.http.port}"


async def verify(spec: TrialSpec, trial: Trial, boot: Boot, progress: Progress) -> GuestReport:
    """Return the machine's report; raise BootError unless everything in it is right."""
    record = trial.service.state.views.get(boot.view)
    assert record is not None
    expected = await asyncio.to_thread(closure_hashes, spec.store, record.paths)
    count = len(expected) // spec.sample
    progress(f"the machine reads and hashes {count} files through its mount")
    attributes = await asyncio.to_thread(closure_attributes, spec.store, record.paths)
    report = await trial.report(boot, expected, attributes, spec.sample)
    # Not quite one of so many: each store path is sampled by itself.
    least = spec.least_files if spec.sample == 1 else len(expected) // (2 * spec.sample)
    faults = report.faults(system=boot.system, least_files=least, nix=spec.has_nix)
    if (spec.store.directory / f"storeboot-write-test-{boot.id}").exists():
        faults.append("what the machine wrote has reached the server's store")
    if faults:
        raise BootError(
            "the machine's report does not check out: " + "; ".join(faults),
            f"its parts are in {trial.service.state.reports.file(boot.id, '').parent}",
        )
    return report


async def _tell(trial: Trial, progress: Progress) -> None:
    """Report each stage as it is passed."""
    told = 0
    while True:
        passed = trial.stages()
        for step in passed[told:]:
            progress(f"{step.seconds:7.1f} s  {step.stage}")
        told = len(passed)
        async with trial.service.changed:
            await trial.service.changed.wait()
