"""nixpkgs' genuine scripts boot from our server; `make test-nixpkgs NIXPKGS=<path>`."""

from __future__ import annotations

from pathlib import Path

import pytest

from e2e import native_units
from e2e.systems import spec, system
from e2e.test_native import seen
from modules.worlds import NIXPKGS, SEED, World
from nixpkgs import genuine
from storeboot.vm.demo.build import Native
from storeboot.vm.qemu import HOST_ADDRESS
from storeboot.vm.trial import started

NATIVE = f"""
  storeboot.client.enable = true;
  storeboot.client.native = {{ enable = true; server = "{HOST_ADDRESS}"; }};
  networking.useNetworkd = true;
"""
pytestmark = [pytest.mark.e2e, pytest.mark.machines, pytest.mark.timeout(900)]


@pytest.mark.parametrize("flush", [False, True])
async def test_the_seeds_own_configuration(tmp_path: Path, flush: bool) -> None:
    """Its `fileSystems` as they stand; with the hidden option as nixpkgs has it, it hangs."""
    assert NIXPKGS is not None
    module = SEED % {"server": HOST_ADDRESS}
    if not flush:
        module += "boot.initrd.network.flushBeforeStage2 = false;"
    first, second = genuine.scripts(NIXPKGS, module)
    plain = system("demo", flavour="scripted")
    initrd = genuine.initrd(plain, tmp_path, first)
    # What the client module adds to stage 2: a network that is kept, and the agent.
    found = World("scripted", None)(NATIVE)
    found["fileSystems"] = World("scripted", None)(module)["fileSystems"]
    units, agent = native_units.write(tmp_path / "units", found)
    native = Native(initrd, units, agent, genuine.stage2(tmp_path, second))
    built = system("demo", flavour="scripted", native=native)
    async with started(spec(built, tmp_path, mode="native"), print) as trial:
        await trial.machine.says("Stage 1 >>>", 300)
        await seen(trial, "mount")
        if flush:
            said = await seen(trial, "silent")
            assert said.startswith("mount: stage 1 has mounted the store, then the network went")
            assert "Stage 2 >>>" not in trial.machine.console_tail(500)
        else:
            await seen(trial, "stage-2")
            await trial.machine.says("Stage 2 >>>", 300)
            await trial.machine.says("starting systemd...", 300)
            await trial.reach("multi-user")
