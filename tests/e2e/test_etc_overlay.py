"""system.etc.overlay: done by our initrd as the system's own stage 1 would."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from e2e.systems import spec, system
from storeboot.process import run
from storeboot.vm.demo.build import EtcOverlay
from storeboot.vm.demo.unpack import Tree
from storeboot.vm.trial import run_trial

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(1800)]


async def test_a_file_of_the_overlay_is_there_when_stage_2_starts(tmp_path: Path) -> None:
    built = system(etc_overlay=_overlay(tmp_path), uml=True)
    await run_trial(spec(built, tmp_path / "run"), print)
    console = (tmp_path / "run" / "console.log").read_text(errors="replace")
    assert "etc overlay: the content" in console


def _overlay(directory: Path) -> EtcOverlay:
    """One file: its metadata in an EROFS image, its content elsewhere, as NixOS makes them."""
    base, metadata = directory / "base", directory / "metadata"
    base.mkdir()
    metadata.mkdir()
    (base / "content").write_text("the content\n")
    stub = metadata / "from-the-overlay"
    with stub.open("wb") as stream:
        stream.truncate(len("the content\n"))
    os.setxattr(stub, "trusted.overlay.metacopy", b"")
    os.setxattr(stub, "trusted.overlay.redirect", b"/content")
    image = directory / "etc-metadata.erofs"
    run(["mkfs.erofs", "--quiet", "-T0", "-U00000000-0000-0000-0000-000000000000", image, metadata])
    return EtcOverlay(Tree("etc-metadata.erofs", image), Tree("etc-lowerdir", base))
