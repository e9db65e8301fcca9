"""Every check can fail: what is broken on purpose must be found, by its name.

The machines are of user-mode Linux where nothing of what is broken is theirs.
"""

from __future__ import annotations

import asyncio
import os
import signal
from pathlib import Path

import aiohttp
import pytest

from e2e.systems import spec, system
from storeboot.config import NfsVersion
from storeboot.errors import BootError
from storeboot.nfs.xdr import FileSlice
from storeboot.serve.nfs.service import NfsService
from storeboot.serve.server import Server
from storeboot.vm.demo.packages import Suite
from storeboot.vm.trial import Trial, started, verify

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(1800)]


async def test_a_flipped_byte_on_the_wire_is_caught_by_the_hashes(tmp_path: Path) -> None:
    """One bit of a file that no boot reads, so that only the verification can see it."""
    trial_spec = spec(system(uml=True), tmp_path, sample=1)

    def flip(server: Server) -> None:
        nfs = server.nfs.backend
        assert isinstance(nfs, NfsService)
        files = nfs.files
        honest = files.descriptor
        altered = tmp_path / "altered"

        def descriptor(data: FileSlice) -> int:
            if not data.relative.endswith(b"/modules.builtin.modinfo"):
                return honest(data)
            if not altered.exists():
                with os.fdopen(honest(data), "rb", closefd=False) as stream:
                    stream.seek(0)
                    content = bytearray(stream.read())
                content[len(content) // 2] ^= 1
                altered.write_bytes(content)
            return os.open(altered, os.O_RDONLY)

        files.descriptor = descriptor  # type: ignore[method-assign]

    async with started(trial_spec, print, flip) as trial:
        boot = await trial.reach("multi-user")
        with pytest.raises(BootError, match=r"1 files differ, first .*modules.builtin.modinfo"):
            await verify(trial_spec, trial, boot, print)


async def test_an_unreachable_nfs_port_is_a_named_failure(tmp_path: Path) -> None:
    closing: list[asyncio.Task[None]] = []
    trial_spec = spec(system(uml=True), tmp_path, kernel_params=("storeboot.retry=1",))
    async with started(
        trial_spec, print, lambda server: closing.append(asyncio.create_task(server.nfs.stop()))
    ) as trial:
        with pytest.raises(
            BootError, match=r"mount: NFS server 10.0.2.2 port \d+ cannot be reached"
        ):
            await trial.reach("multi-user")
        passed = [step.stage for step in trial.stages()]
        assert "mount" not in passed
        assert passed[-1] == "failed"
        # It tries again instead of waiting for ever: with -no-reboot that ends QEMU.
        await trial.wait_off(300)


@pytest.mark.machines
async def test_a_failed_machine_gives_a_shell_if_it_was_asked_to(tmp_path: Path) -> None:
    closing: list[asyncio.Task[None]] = []
    params = ("storeboot.debug=shell",)
    async with started(
        spec(system(), tmp_path, kernel_params=params),
        print,
        lambda server: closing.append(asyncio.create_task(server.nfs.stop())),
    ) as trial:
        await trial.reach("failed")
        async with asyncio.timeout(300):
            while "/ # " not in trial.machine.console_tail():  # noqa: ASYNC110 (QEMU's own file)
                await asyncio.sleep(0.2)
        assert not trial.machine.is_off
        assert "FAILED in step 'mount'" in trial.machine.console.read_text(errors="replace")


async def test_strangers_cannot_disturb_a_running_machine(tmp_path: Path) -> None:
    """A curl of its script, its POST sent again, one with another nonce, and forged events."""
    trial_spec = spec(system(uml=True), tmp_path)
    async with started(trial_spec, print) as trial:
        boot = await trial.reach("multi-user")
        await _disturb(trial)
        report = await verify(trial_spec, trial, boot, print)
        assert f"{boot.view}{boot.id}" in report.facts["lower_source"]
        await trial.power_off(boot)


async def _disturb(trial: Trial) -> None:
    service = trial.service
    boot = trial.boot()
    assert boot is not None
    url = f"http://127.0.0.1:{service.config.http.port}"
    mac = service.config.hosts["demo"].mac[0]
    words = f"host=demo\nview={boot.view}\nmac={mac}\n"
    async with aiohttp.ClientSession() as http:
        async with http.get(f"{url}/boot", params={"mac": mac}) as response:
            assert response.status == 200
        async with http.post(f"{url}/boots", data=f"{words}nonce={boot.nonce}\n") as response:
            assert response.status == 409
            assert "key=" not in await response.text()
        events = f"{url}/boots/{boot.id}/events?stage=shutdown"
        async with http.post(events, data=b"", headers={"Authorization": "Bearer 0"}) as response:
            assert response.status == 403
        async with http.post(f"{url}/boots", data=f"{words}nonce={'0' * 32}\n") as response:
            assert response.status == 200


async def test_a_machine_that_dies_is_said_with_its_last_words(tmp_path: Path) -> None:
    async with started(spec(system(uml=True), tmp_path), print) as trial:
        await trial.reach("begin")
        os.kill(trial.machine.pid, signal.SIGKILL)
        with pytest.raises(BootError, match="went off before stage multi-user"):
            await trial.reach("multi-user")


async def test_a_machine_that_hangs_is_said_with_the_stage_it_is_in(tmp_path: Path) -> None:
    async with started(spec(system(uml=True), tmp_path), print) as trial:
        await trial.reach("network")
        await trial.machine.freeze()
        with pytest.raises(BootError, match=r"no stage multi-user within 5 s; the machine is at"):
            await trial.reach("multi-user", 5)


@pytest.mark.parametrize(
    ("nfs", "suite"), [("3", "trixie"), ("4.1", "bookworm"), ("4.2", "trixie")]
)
async def test_the_server_may_be_away_for_a_while(
    nfs: NfsVersion, suite: Suite, tmp_path: Path
) -> None:
    """Closed in the middle of a verified read of everything, and opened again."""
    trial_spec = spec(system(suite=suite, uml=True), tmp_path, nfs, sample=1)
    async with started(trial_spec, print) as trial:
        boot = await trial.reach("multi-user")
        verifying = asyncio.create_task(verify(trial_spec, trial, boot, print))
        backend = trial.server.nfs.backend
        already = (await backend.calls()).total()
        async with asyncio.timeout(300):
            while (await backend.calls()).total() < already + 300:  # noqa: ASYNC110 (nobody tells)
                await asyncio.sleep(0.05)
        nfs_config = trial.service.config.nfs
        await trial.server.nfs.stop()
        await trial.server.nfs.start(nfs_config.listen, nfs_config.port)
        report = await verifying
        assert not report.mismatches
