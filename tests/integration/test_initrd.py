"""Initrds of a real kernel and of one that asks for firmware, looked into with cpio itself."""

from __future__ import annotations

import platform
import shutil
from pathlib import Path

import pytest
import zstandard

from e2e.systems import system
from integration.stores import add, toplevel_tree
from storeboot.errors import CommandError
from storeboot.initrd.builder import Initrd, build
from storeboot.initrd.busybox import APPLETS, find_busybox
from storeboot.initrd.modules import Needs
from storeboot.nix.store import Store
from storeboot.nix.system import System, read_system
from storeboot.process import run
from storeboot.protocol.units import UNITS
from unit.kernel_modules import elf

OWN = platform.machine()


def contents(initrd: Initrd) -> set[str]:
    data = zstandard.ZstdDecompressor().decompressobj().decompress(initrd.path.read_bytes())
    return set(run(["cpio", "-t", "--quiet"], stdin=data).split())


def make(made: System, cache: Path, drivers: tuple[str, ...] = ()) -> Initrd:
    return build(made, busybox=find_busybox(OWN), needs=Needs(drivers), cache=cache)


@pytest.fixture(scope="module")
def micro() -> System:
    built = system()
    return read_system(built.store, built.toplevel)


@pytest.mark.timeout(600)
def test_it_holds_what_the_boot_needs(micro: System, tmp_path: Path) -> None:
    names = contents(make(micro, tmp_path))
    base = f"lib/modules/{micro.kernel_version}"
    for module in ("fs/nfs/nfs", "fs/nfs/nfsv3", "fs/nfs/nfsv4", "fs/overlayfs/overlay",
                   "drivers/net/virtio_net", "net/sunrpc/sunrpc"):  # fmt: skip
        assert f"{base}/kernel/{module}.ko" in names
    for unit in UNITS:
        names_of_unit = {unit.name, f"{unit.target}.wants/{unit.name}"}
        assert {f"storeboot/units/{name}" for name in names_of_unit} <= names
    assert {"init", "bin/busybox", "storeboot/init", "storeboot/agent.sh", "dev/console"} <= names


def test_the_same_inputs_give_the_same_file(micro: System, tmp_path: Path) -> None:
    first, second = make(micro, tmp_path / "a"), make(micro, tmp_path / "b")
    assert first.path.name == second.path.name
    assert first.path.read_bytes() == second.path.read_bytes()


def test_a_built_one_is_not_built_again(micro: System, tmp_path: Path) -> None:
    first = make(micro, tmp_path)
    before = first.path.stat().st_mtime_ns
    assert make(micro, tmp_path) == first
    assert first.path.stat().st_mtime_ns == before


def test_narrowed_drivers_are_another_and_smaller_file(micro: System, tmp_path: Path) -> None:
    every, one = make(micro, tmp_path), make(micro, tmp_path, ("virtio_net",))
    assert one.path != every.path
    assert one.modules < every.modules


def test_firmware_that_a_driver_asks_for_comes_along_and_missing_is_told(tmp_path: Path) -> None:
    tree = toplevel_tree(tmp_path)
    modules = tree / "kernel-modules/lib/modules/6.12.1"
    driver = modules / "kernel/drivers/net/ethernet/x.ko"
    driver.parent.mkdir(parents=True)
    wanted = ["firmware=x/have.fw", "firmware=x/have-not.fw", "firmware=x/of-kernel.fw"]
    driver.write_bytes(elf(["alloc_etherdev_mqs"], wanted))
    (modules / "modules.dep").write_text("kernel/drivers/net/ethernet/x.ko:\n")
    (modules / "modules.alias").write_text("alias pci:v0000BEEFd* x\n")
    (tree / "firmware/x").mkdir(parents=True)
    (tree / "firmware/x/have.fw.xz").write_text("bytes")
    own = tree / "kernel-modules/lib/firmware/6.12.1/x"
    own.mkdir(parents=True)
    (own / "of-kernel.fw").write_text("bytes")
    (tree / "etc/modprobe.d").mkdir(parents=True)
    (tree / "etc/modprobe.d/nixos.conf").write_text("options x quietly=1\n")
    (tree / "etc/fstab").write_text("/dev/sda1 /data ext4\n")
    store = Store(tmp_path / "root")
    initrd = make(read_system(store, add(store, tree)), tmp_path / "cache")
    assert (initrd.firmware, initrd.missing_firmware) == (2, ("x/have-not.fw",))
    names = contents(initrd)
    assert "lib/firmware/x/have.fw.xz" in names
    assert {"lib/firmware/x/of-kernel.fw", "etc/modprobe.d/system.conf"} <= names
    assert "storeboot/units/data.mount" in names


def test_a_busybox_that_is_not_static_is_refused(tmp_path: Path) -> None:
    with pytest.raises(CommandError, match="not a static program"):
        find_busybox(OWN, Path(shutil.which("cat") or ""))


def test_a_busybox_without_an_applet_is_refused(tmp_path: Path) -> None:
    """A static program that lists none of them: busybox itself, told to be `true`."""
    fake = tmp_path / "true"
    shutil.copy2(find_busybox(OWN), fake)
    with pytest.raises(CommandError, match=f"without .*{APPLETS[0]}"):
        find_busybox(OWN, fake)


def test_another_processor_has_a_busybox_of_its_own(tmp_path: Path) -> None:
    """Its applets are read from it, since it cannot be asked."""
    other = "aarch64" if OWN != "aarch64" else "x86_64"
    with pytest.raises(CommandError, match=f"no static busybox is configured for {other}"):
        find_busybox(other)
    data = bytearray(find_busybox(OWN).read_bytes())
    with pytest.raises(CommandError, match=f"is not for {other} machines"):
        find_busybox(other, by_machine={other: find_busybox(OWN)})
    data[18:20] = (183 if other == "aarch64" else 62).to_bytes(2, "little")  # e_machine
    theirs = tmp_path / "busybox"
    theirs.write_bytes(data)
    assert find_busybox(other, by_machine={other: theirs}) == theirs
    theirs.write_bytes(data.replace(b"\0udhcpc\0", b"\0no-dhcp"))
    with pytest.raises(CommandError, match="was built without udhcpc"):
        find_busybox(other, by_machine={other: theirs})
