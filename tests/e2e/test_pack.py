"""Machines whose store is a pack above NFS."""

from __future__ import annotations

import asyncio
from contextlib import suppress
from pathlib import Path
from typing import ClassVar

import pytest
from aiohttp import web
from aiohttp.abc import AbstractStreamWriter
from typing_extensions import override

from e2e.systems import spec, system
from storeboot.boot.state import Evidence, last_stage
from storeboot.deploy.packs import Packs
from storeboot.hosts.boots import Boot
from storeboot.initrd import modules
from storeboot.serve import server
from storeboot.vm.demo.build import DemoSystem
from storeboot.vm.demo.packages import Suite
from storeboot.vm.trial import Trial, TrialSpec, run_trial, started, verify

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(1800)]
DROP = 8 << 10  # bytes


def with_pack(built: DemoSystem, directory: Path) -> TrialSpec:
    return spec(built, directory, mode="pack")


async def learned(trial: Trial) -> Boot:
    """A boot of which the server has learned what is hot."""
    boot = await trial.reach("multi-user")
    await trial.until(
        lambda: trial.service.state.hot_lists.get(boot.view) is not None, 300, "hot list"
    )
    return boot


@pytest.mark.machines
@pytest.mark.parametrize(("suite", "most_rpcs"), [("trixie", 20), ("bookworm", 90)])
async def test_the_second_boot_has_what_the_first_has_read(
    tmp_path: Path, suite: Suite, most_rpcs: int
) -> None:
    """Linux 6.12 with a data-only layer, 6.1 with an ordinary one; 3,000 RPCs without a pack."""
    trial_spec = with_pack(system("demo", suite=suite), tmp_path / "trial")
    async with started(trial_spec, print) as trial:
        boot = await learned(trial)
        first = await verify(trial_spec, trial, boot, print)
        await trial.power_off(boot)
    second = await run_trial(trial_spec, print)
    if second.report.boot.bytes_read > 10_000:
        # A unit was faster this time: when the first boot was learned from, it had not begun.
        second = await run_trial(trial_spec, print)
    assert "pack" in [step.stage for step in second.steps]
    assert first.boot.total <= 600
    stats = second.report.boot
    assert stats.total <= most_rpcs, stats
    assert stats.bytes_read <= 10_000
    for report in (first, second.report):
        assert (report.facts["changes_hot"], report.facts["changes_stub"]) == ("yes", "yes")


async def test_the_first_boot_of_an_update_has_what_was_learned_before(tmp_path: Path) -> None:
    async with started(with_pack(system(), tmp_path / "trial"), print) as trial:
        boot = await learned(trial)
        known = trial.service.state.hot_lists.get(boot.view)
        await trial.power_off(boot)
    assert known is not None
    updated = await run_trial(with_pack(system(edition=2), tmp_path / "trial"), print)
    assert updated.boot.view != boot.view
    assert updated.report.boot.bytes_read <= 10_000
    assert updated.report.boot.total <= 20, updated.report.boot


class Late(web.FileResponse):
    """A server that gives a pack by drops, until it may go on."""

    may_go_on: ClassVar[asyncio.Event]

    @override
    async def prepare(self, request: web.BaseRequest) -> AbstractStreamWriter | None:
        if "/pack/" not in request.path or request.path.endswith("/hot"):
            return await super().prepare(request)
        data = await asyncio.to_thread(self._path.read_bytes)
        self.headers["Content-Length"] = str(len(data))
        writer = await web.StreamResponse.prepare(self, request)
        while not self.may_go_on.is_set():
            await self.write(data[:DROP])
            data = data[DROP:]
            with suppress(TimeoutError):
                await asyncio.wait_for(self.may_go_on.wait(), 1)
        await self.write(data)
        return writer


async def test_a_machine_says_that_it_waits_for_its_pack(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    Late.may_go_on = asyncio.Event()
    monkeypatch.setattr(web, "FileResponse", Late)
    async with started(with_pack(system(uml=True), tmp_path / "trial"), print) as trial:
        boot = await trial.reach("await-pack")
        now = last_stage(Evidence(tuple(trial.service.boots.events_of(boot.id))))
        assert now is not None
        assert now.stage == "await-pack"
        Late.may_go_on.set()
        await trial.reach("multi-user")
        names = [step.stage for step in trial.stages()]
        at = names.index("mount")
        # Having got it, this kernel finds that it cannot use it: no attributes in its squashfs.
        assert names[at : at + 4] == ["mount", "await-pack", "plain", "overlay"]
        await trial.power_off(boot)


def damaged_copy(pack: Path) -> Path:
    """As it may arrive; the server would see that its own file is damaged, and build another."""
    data = bytearray(pack.read_bytes())
    data[len(data) // 2] ^= 1
    copy = pack.with_suffix(".damaged")
    copy.write_bytes(data)
    return copy


@pytest.mark.parametrize(
    ("is_there", "said"),
    [
        (True, "what was fetched is damaged"),
        pytest.param(False, "404 there is no such pack", marks=pytest.mark.machines),
    ],
)
async def test_a_boot_goes_on_without_a_pack_that_is_no_good(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, is_there: bool, said: str
) -> None:
    trial_spec = with_pack(system(), tmp_path / "trial")

    def harm(running: server.Server) -> None:
        (pack,) = running.service.inventory.systems.packs.ready.values()
        assert pack is not None
        given = damaged_copy(pack.path) if is_there else None
        monkeypatch.setattr(Packs, "file", lambda *_: given)

    async with started(trial_spec, print, harm) as trial:
        await goes_on_plainly(trial_spec, trial, said)


class Silent(web.FileResponse):
    """A server that never gives a pack, and does not say so."""

    @override
    async def prepare(self, request: web.BaseRequest) -> AbstractStreamWriter | None:
        if "/pack/" in request.path:
            await asyncio.Event().wait()
        return await super().prepare(request)


@pytest.mark.machines
async def test_a_boot_goes_on_without_a_pack_that_never_comes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(web, "FileResponse", Silent)
    trial_spec = with_pack(system(), tmp_path / "trial")
    async with started(trial_spec, print) as trial:
        await goes_on_plainly(trial_spec, trial, "it could not be fetched: nothing came")


class Cut(web.FileResponse):
    """A server whose connection breaks in the middle of the first pack that it gives."""

    asked: ClassVar[list[str | None]] = []

    @override
    async def prepare(self, request: web.BaseRequest) -> AbstractStreamWriter | None:
        if "/pack/" not in request.path or request.path.endswith("/hot"):
            return await super().prepare(request)
        self.asked.append(request.headers.get("Range"))
        if len(self.asked) > 1:
            return await super().prepare(request)
        data = await asyncio.to_thread(self._path.read_bytes)
        self.headers["Content-Length"] = str(len(data))
        writer = await web.StreamResponse.prepare(self, request)
        await self.write(data[: len(data) // 2])
        assert writer is not None
        await writer.drain()
        assert request.transport is not None
        request.transport.close()
        return writer


@pytest.mark.machines
async def test_a_pack_that_was_cut_is_fetched_from_where_it_was_cut(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(web, "FileResponse", Cut)
    trial_spec = with_pack(system(), tmp_path / "trial")
    async with started(trial_spec, print) as trial:
        boot = await trial.reach("multi-user")
        assert "pack" in [step.stage for step in trial.stages()]
        await trial.power_off(boot)
    first, second, *_ = Cut.asked
    assert first is None
    assert second is not None
    assert second.startswith("bytes=")
    assert int(second.removeprefix("bytes=").rstrip("-")) > 100_000


@pytest.mark.machines
async def test_a_kernel_without_squashfs_boots_plainly(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    without = tuple(name for name in modules.OPTIONAL if name != "squashfs")
    monkeypatch.setattr(modules, "OPTIONAL", without)
    trial_spec = with_pack(system(), tmp_path / "trial")
    async with started(trial_spec, print) as trial:
        await goes_on_plainly(trial_spec, trial, "it cannot be mounted")


async def test_a_kernel_that_does_not_find_the_data_of_stubs_boots_plainly(tmp_path: Path) -> None:
    """The squashfs of this user-mode Linux has no extended attributes: each stub is empty."""
    trial_spec = with_pack(system(suite="bookworm", uml=True), tmp_path / "trial")
    async with started(trial_spec, print) as trial:
        await goes_on_plainly(trial_spec, trial, "the kernel does not find the data of its files")


async def goes_on_plainly(trial_spec: TrialSpec, trial: Trial, said: str) -> None:
    boot = await trial.reach("multi-user")
    notes = {event.stage: event.detail for event in trial.service.boots.events_of(boot.id)}
    assert said in notes["plain"]
    assert "pack" not in notes
    await verify(trial_spec, trial, boot, print)
    await trial.power_off(boot)
