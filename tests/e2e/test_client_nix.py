"""The Nix of a machine whose store is the server's."""

from __future__ import annotations

import asyncio
import gzip
import re
from base64 import b64encode
from dataclasses import replace
from pathlib import Path

import pytest

from e2e.systems import QUICKLY, spec, system
from storeboot.config import Mode
from storeboot.vm.trial import started

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(1800)]
SCRIPT = Path(__file__).with_name("client_nix.sh")
UNIT = """
[Unit]
DefaultDependencies=no
After=multi-user.target
[Service]
LoadCredential=client-nix
Environment="FEATURES={features}" "STORE={store}"
Environment=PATH=/run/current-system/sw/bin
ExecStart=/run/current-system/sw/bin/sh -c \\
    "base64 -d ${{CREDENTIALS_DIRECTORY}}/client-nix | gunzip | sh"
"""
# As docs/how-to/client-nix.md has it.
OVERLAY = (
    "local-overlay://?lower-store=/nix/.lower%3Fread-only=true"
    "&upper-layer=/nix/.rw-store/store&check-mount=false"
)
FEATURES = "local-overlay-store read-only-local-store"


@pytest.mark.parametrize(
    ("mode", "kind", "store", "features"),
    [
        ("plain", "local", "", ""),
        pytest.param("pack", "local", "", "", marks=pytest.mark.machines),
        ("plain", "local-overlay", OVERLAY, FEATURES),
        pytest.param("pack", "local-overlay", OVERLAY, FEATURES, marks=pytest.mark.machines),
    ],
)
async def test_nix_knows_what_it_has_from_the_server(
    tmp_path: Path, mode: Mode, kind: str, store: str, features: str
) -> None:
    unit = UNIT.format(store=store.replace("%", "%%"), features=features)
    script = await asyncio.to_thread(SCRIPT.read_bytes)
    # There is little room for credentials on a command line; a pack needs QEMU.
    trial_spec = replace(
        spec(system("demo", uml=mode == "plain"), tmp_path / "trial", mode=mode),
        settings={"nix_store": kind},
        kernel_params=(*QUICKLY, "systemd.wants=client-nix.service"),
        credentials={"systemd.extra-unit.client-nix.service": unit,
                     "client-nix": b64encode(gzip.compress(script, mtime=0)).decode()},
    )  # fmt: skip
    async with started(trial_spec, print) as trial:
        boot = await trial.reach("multi-user")
        said = await trial.machine.says("client-nix end", 900)
        results = dict(re.findall(r"client-nix (\w+): (.*)", said))
        names = ("query", "build", "references", "copy", "gc", "valid")
        assert results == dict.fromkeys(names, "ok")
        await trial.power_off(boot)
