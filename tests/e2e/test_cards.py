"""Network cards as they are met outside, on the kernel that a distribution ships for all machines.

The initrd is whole, with every driver that was found by asking the modules. No server answers: what
counts is that the card is found, with the bus that it hangs on, and gets an address.
"""

from __future__ import annotations

import asyncio
import platform
import shutil
from pathlib import Path

import pytest

from e2e.systems import CACHE
from storeboot.initrd.builder import Initrd, build
from storeboot.initrd.busybox import find_busybox
from storeboot.initrd.modules import Needs
from storeboot.process import Child, run
from storeboot.vm.demo.debian import fetch
from storeboot.vm.demo.locking import locked
from storeboot.vm.demo.unpack import merge_usr
from storeboot.vm.qemu import find_qemu
from unit.toplevels import TOP, Toplevel

pytestmark = [pytest.mark.e2e, pytest.mark.machines, pytest.mark.timeout(1800)]
PARAMS = (
    "console=ttyS0", "mitigations=off", "storeboot.url=http://10.0.2.2:9", "storeboot.host=lab1",
    f"storeboot.view={'0' * 32}", f"init={TOP}/init",
)  # fmt: skip


def generic_kernel() -> Path:
    """Unpack linux-image-amd64, unless that was done before; return the tree."""
    work = CACHE / "generic"
    tree = work / "tree"
    with locked(work):
        if not tree.exists():
            partial = work / "partial"
            shutil.rmtree(partial, ignore_errors=True)
            for deb in fetch(["linux-image-amd64"], "bookworm", work):
                if deb.name.startswith("linux-image-"):
                    run(["dpkg-deb", "-x", deb, partial])
            merge_usr(partial)
            (version,) = (partial / "usr/lib/modules").iterdir()
            (partial / "lib").symlink_to("usr/lib")
            run(["depmod", "-b", partial, version.name], seconds=600)
            partial.rename(tree)
    return tree


def whole_initrd(tree: Path, directory: Path) -> Initrd:
    toplevel = Toplevel(directory)
    shutil.rmtree(toplevel.path / "kernel-modules")
    shutil.copytree(tree / "usr/lib/modules", toplevel.path / "kernel-modules/lib/modules")
    busybox = find_busybox(platform.machine())
    return build(toplevel.read(), busybox=busybox, needs=Needs(), cache=directory / "initrds")


@pytest.mark.parametrize(
    ("devices", "params", "said"),
    [
        (
            ["-device", "qemu-xhci", "-netdev", "user,id=a", "-device", "usb-net,netdev=a"],
            (),
            "address 10.0.2.15/24 on usb0",
        ),
        (
            ["-netdev", "user,id=a", "-device", "e1000e,netdev=a,mac=52:54:00:00:00:01",
             "-netdev", "user,id=b,net=10.0.7.0/24",
             "-device", "e1000e,netdev=b,mac=52:54:00:00:00:02"],
            ("BOOTIF=01-52-54-00-00-00-02",),
            "address 10.0.7.15/24 on eth1",
        ),
    ],
    ids=["usb on xhci", "the second of two with one driver"],
)  # fmt: skip
async def test_a_card_gets_an_address(
    tmp_path: Path, devices: list[str], params: tuple[str, ...], said: str
) -> None:
    tree = await asyncio.to_thread(generic_kernel)
    initrd = await asyncio.to_thread(whole_initrd, tree, tmp_path / "system")
    (kernel,) = (tree / "boot").glob("vmlinuz-*")
    console = tmp_path / "console"
    child = await Child.start(
        [find_qemu(), "-nodefaults", "-no-user-config", "-display", "none", "-no-reboot",
         "-m", "1024", "-serial", f"file:{console}", "-kernel", kernel, "-initrd", initrd.path,
         "-append", " ".join((*PARAMS, *params)), *devices],
        output=tmp_path / "qemu.log",
    )  # fmt: skip
    try:
        async with asyncio.timeout(900):
            # QEMU writes to a file and sends no event, so poll.
            while said not in (text := _text(console)) and child.status is None:
                assert "FAILED in step" not in text, text[-2000:]
                await asyncio.sleep(0.5)
    finally:
        await child.stop()
    assert said in _text(console), _text(console)[-2000:]


def _text(console: Path) -> str:
    return console.read_text(errors="replace") if console.exists() else ""
