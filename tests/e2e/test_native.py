"""Systems whose own initrd mounts the store, in machines without disks."""

from __future__ import annotations

from pathlib import Path

import pytest

from e2e import native_initrd, native_units, systemd_initrd
from e2e.systems import CACHE, spec, system
from modules.worlds import SEED, World
from storeboot.vm.demo.build import Native, packages
from storeboot.vm.qemu import HOST_ADDRESS
from storeboot.vm.trial import Trial, run_trial, started

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(1800)]


async def seen(trial: Trial, stage: str, seconds: float = 300) -> str:
    """Until the server has seen a stage; what it says of it."""
    await trial.until(lambda: any(step.stage == stage for step in trial.stages()), seconds, stage)
    return next(step.detail for step in trial.stages() if step.stage == stage)


@pytest.mark.parametrize("flush", [False, True])
async def test_the_seeds_own_configuration(tmp_path: Path, flush: bool) -> None:
    """Mounted by a scripted stage 1 from its `fileSystems`, word for word."""
    file_systems = World("scripted", None)(SEED % {"server": HOST_ADDRESS})["fileSystems"]
    # A user-mode machine that loses its store goes off; an emulated one hangs, as a real one does.
    plain = system("micro", flavour="scripted", uml=not flush)
    initrd = native_initrd.scripted(plain, tmp_path, file_systems, flush=flush)
    built = system("micro", native=Native(initrd), uml=not flush)
    async with started(spec(built, tmp_path, mode="native"), print) as trial:
        await seen(trial, "mount")
        if flush:
            said = await seen(trial, "silent")
            assert said.startswith(
                "mount: stage 1 has mounted the store, then the network went silent"
            )
            assert "flushBeforeStage2 must be false" in said
        else:
            await seen(trial, "stage-2")
            await trial.machine.says("<<< NixOS stand-in stage 2 >>>", 300)
    stages = [step.stage for step in trial.stages()]
    assert stages == ["script", "kernel", "initrd", "mount", "silent" if flush else "stage-2"]


async def test_the_client_module_with_a_systemd_stage_1(tmp_path: Path) -> None:
    """Debian's systemd in the initrd, networkd in both stages, the agent as the module has it."""
    found = World("systemd", None)(
        f"""
        storeboot.client.enable = true;
        storeboot.client.native = {{ enable = true; server = "{HOST_ADDRESS}"; }};
        networking.useNetworkd = true;
        """
    )
    assert found["failed"] == []
    plain = system("demo", uml=True)
    trees = [tree.path for tree in packages(CACHE, "trixie").packages]
    initrd = systemd_initrd.make(plain, trees, tmp_path, found)
    units, agent = native_units.write(tmp_path / "units", found)
    built = system("demo", native=Native(initrd, units, agent), uml=True)
    outcome = await run_trial(spec(built, tmp_path, mode="native", sample=1), print)
    stages = [step.stage for step in outcome.steps]
    assert stages[:4] == ["script", "kernel", "initrd", "mount"]
    assert [each for each in stages if each in ("agent", "multi-user", "shutdown")] == [
        "agent", "multi-user", "shutdown",
    ]  # fmt: skip
    assert "silent" not in stages
    assert outcome.report.facts["failed_units"].split() == []
