"""What changes store paths in place is warned about where an administrator looks."""

from __future__ import annotations

import asyncio
import os
import signal
from pathlib import Path

import pytest

from integration.deploying import STOREBOOT
from storeboot.deploy.hazards import hazards
from storeboot.process import Child


def test_a_timer_that_optimises_is_found(tmp_path: Path) -> None:
    assert hazards(tmp_path) == ()
    (tmp_path / "nix-optimise.timer").symlink_to("/etc/systemd/system/nix-optimise.timer")
    (found,) = hazards(tmp_path)
    assert found.id == "server-optimise-timer"
    assert "nix.optimise.automatic = false" in found.advice


@pytest.mark.parametrize("optimises", [True, False])
async def test_serve_and_status_warn(path: Path, tmp_path: Path, optimises: bool) -> None:
    settings = f"NIX_CONFIG=auto-optimise-store = {str(optimises).lower()}"
    output = tmp_path / "output"
    child = await Child.start(["/usr/bin/env", settings, STOREBOOT, "serve", "-c", path],
                              output=output)  # fmt: skip
    async with asyncio.timeout(60):
        while "serve.ready" not in output.read_text():  # noqa: ASYNC110 (a file)
            await asyncio.sleep(0.1)
    os.kill(child.pid, signal.SIGTERM)
    assert await child.wait() == 0
    assert ("store.changes_in_place" in output.read_text()) is optimises
    status = await Child.start(["/usr/bin/env", settings, STOREBOOT, "status", "-c", path],
                               output=tmp_path / "status")  # fmt: skip
    assert await status.wait() == 0
    said = (tmp_path / "status").read_text()
    assert ("warning: Nix replaces files in the store with hard links" in said) is optimises
