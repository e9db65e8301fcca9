"""The Linux NFS client: both kernels, both protocols, all that a tree can hold."""

from __future__ import annotations

import asyncio
import os
from pathlib import Path

import pytest

from e2e import linux_tree
from e2e.systems import CACHE
from integration.views import serving
from storeboot.vm.demo.build import packages
from storeboot.vm.demo.packages import Suite
from storeboot.vm.demo.uml_kernel import uml_kernel
from storeboot.vm.errand import run_in_uml
from storeboot.vm.qemu import HOST_ADDRESS

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(1800)]
SCRIPT = Path(__file__).with_name("linux_client.sh")


def programs_of(suite: Suite) -> linux_tree.Programs:
    """Out of the packages that the demo systems are made of."""

    def one(pattern: str) -> Path:
        found = sorted((CACHE / suite / "trees").glob(f"*/{pattern}"))
        return next(path for path in found if path.is_file() and not path.is_symlink())

    return linux_tree.Programs(
        busybox=one("busybox-static-*/**/bin/busybox"),
        loader=one("libc6-*/**/ld-linux-x86-64.so.2"),
        libc=one("libc6-*/**/libc.so.6"),
        true=one("coreutils-*/**/bin/true"),
    )


def expected(top: Path) -> dict[str, str]:
    everything = sum(1 for _ in linux_tree._everything(top))
    return {
        "lines": str(everything - 1),
        "names": linux_tree.names(top),
        "attributes": linux_tree.attributes(top),
        "contents": linux_tree.contents(top),
        "many": str(linux_tree.MANY),
        "missing": "1",
        "link": "text",
        "long_link": "4095",
        "hard_link": "same",
        "sparse_size": str(linux_tree.SPARSE_SIZE),
        **{f"sparse_{at >> 20}": linux_tree.sample(top, at) for at in linux_tree.SAMPLES},
        "executed": "it runs",
        "mapped": "mapped",
        "denied": "1",
        "readers": "32",
        "parallel": linux_tree.eight(top),
        "connections": "4",
        "copied": linux_tree.contents(top),
        "copied_link": "4095",
        "copy_up": "text more new shallow/deeper",
        "lower": "text 1",
        "unmounted": "0",
        "errors": "0",
    }


@pytest.mark.parametrize("suite", ["trixie", pytest.param("bookworm", marks=pytest.mark.machines)])
async def test_linux_client(suite: Suite, tmp_path: Path) -> None:
    await asyncio.to_thread(packages, CACHE, suite)
    kernel = await asyncio.to_thread(uml_kernel, CACHE, suite)
    store = tmp_path / "nix" / "store"
    store.mkdir(parents=True)
    top = await asyncio.to_thread(linux_tree.make_tree, store, programs_of(suite))
    true = await asyncio.to_thread(expected, top)
    async with serving(tmp_path, os.fsdecode(linux_tree.NAME)) as served:
        variables = {
            "server": HOST_ADDRESS,
            "port": str(served.port),
            "path": served.path,
            "versions": "3 4.0 4.2",
            "name": os.fsdecode(linux_tree.NAME),
            "samples": " ".join(str(at >> 20) for at in linux_tree.SAMPLES),
        }
        text = await run_in_uml(
            kernel, tmp_path / "run", SCRIPT.read_text(), variables, seconds=300
        )
    results: dict[str, dict[str, str]] = {}
    for line in text.splitlines():
        version, name, value = line.split(" ", 2)
        results.setdefault(version, {})[name] = value.rstrip()
    assert results.pop("all") == {"kernel": "0"}
    wrong = {
        (version, name): (results[version].get(name), value)
        for version in ("3", "4.0", "4.2")
        for name, value in true.items()
        if results[version].get(name) != value
    }
    assert not wrong
