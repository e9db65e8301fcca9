from __future__ import annotations

import lzma
import zlib
from pathlib import Path

import pytest
import zstandard

from storeboot.errors import UnbootableError
from storeboot.initrd import modules
from storeboot.initrd.modules import Needs

DEP = """\
kernel/fs/nfs/nfs.ko.xz: kernel/net/sunrpc/sunrpc.ko.xz
kernel/fs/nfs/nfsv3.ko.xz: kernel/fs/nfs/nfs.ko.xz kernel/net/sunrpc/sunrpc.ko.xz
kernel/fs/nfs/nfsv4.ko.xz: kernel/fs/nfs/nfs.ko.xz
kernel/net/sunrpc/sunrpc.ko.xz:
kernel/fs/overlayfs/overlay.ko.xz:
kernel/drivers/net/ethernet/intel/e1000e/e1000e.ko.xz: kernel/drivers/ptp/ptp.ko.xz
kernel/drivers/net/wireless/ath/ath9k.ko.xz:
kernel/drivers/net/virtio_net.ko.xz: kernel/net/core/failover.ko.xz
kernel/drivers/ptp/ptp.ko.xz:
kernel/net/core/failover.ko.xz:
kernel/drivers/net/ethernet/realtek/r8169.ko.xz:
kernel/drivers/net/phy/realtek.ko.xz:
"""


@pytest.fixture
def tree(tmp_path: Path) -> modules.ModuleTree:
    (tmp_path / "modules.dep").write_text(DEP)
    (tmp_path / "modules.builtin").write_text("kernel/net/packet/af_packet.ko\n")
    (tmp_path / "modules.alias").write_text("alias pci:v8086 e1000e\nalias pci:v0 ath9k\n")
    (tmp_path / "modules.softdep").write_text("softdep r8169 pre: realtek\n")
    return modules.read_tree(tmp_path)


def names(files: tuple[str, ...]) -> set[str]:
    return {modules.module_name(file) for file in files}


def test_every_wired_driver_and_all_that_it_needs(tree: modules.ModuleTree) -> None:
    found = names(modules.needed(tree, Needs(), "x"))
    assert found == {"nfs", "nfsv3", "nfsv4", "sunrpc", "overlay", "e1000e", "ptp", "virtio_net",
                     "failover", "r8169", "realtek"}  # fmt: skip


def test_drivers_can_be_narrowed(tree: modules.ModuleTree) -> None:
    found = names(modules.needed(tree, Needs(("virtio-net",)), "x"))
    assert found == {"nfs", "nfsv3", "nfsv4", "sunrpc", "overlay", "virtio_net", "failover"}


def test_a_soft_dependency_comes_along(tree: modules.ModuleTree) -> None:
    assert "realtek" in names(modules.needed(tree, Needs(("r8169",)), "x"))


def test_local_disks_and_zram_only_where_they_are_asked_for(tmp_path: Path) -> None:
    more = (
        "kernel/drivers/ata/ahci.ko:\nkernel/fs/ext4/ext4.ko:\nkernel/drivers/block/zram/zram.ko:\n"
    )
    (tmp_path / "modules.dep").write_text(DEP + more)
    tree = modules.read_tree(tmp_path)
    assert not names(modules.needed(tree, Needs(), "x")) & {"ahci", "ext4", "zram"}
    assert names(modules.needed(tree, Needs(disk=True), "x")) >= {"ahci", "ext4"}
    assert "zram" in names(modules.needed(tree, Needs(zram=True), "x"))
    (tmp_path / "modules.dep").write_text(DEP)
    with pytest.raises(UnbootableError, match="no module zram"):
        modules.needed(modules.read_tree(tmp_path), Needs(zram=True), "x")


def test_an_unknown_driver_is_named(tree: modules.ModuleTree) -> None:
    with pytest.raises(UnbootableError, match="no network driver nonesuch"):
        modules.needed(tree, Needs(("nonesuch",)), "x")


@pytest.mark.parametrize("lost", ["nfs", "nfsv4", "overlay"])
def test_a_kernel_without_what_the_boot_needs_is_refused(tmp_path: Path, lost: str) -> None:
    lines = [line for line in DEP.splitlines() if f"/{lost}.ko" not in line.partition(":")[0]]
    (tmp_path / "modules.dep").write_text("\n".join(lines))
    with pytest.raises(UnbootableError, match=f"no module {lost}$"):
        modules.needed(modules.read_tree(tmp_path), Needs(), "x")


def test_the_index_has_the_included_modules_only(tree: modules.ModuleTree) -> None:
    files = modules.needed(tree, Needs(), "x")
    index = modules.index_files(tree, files)
    assert "alias pci:v8086 e1000e" in index["modules.alias"]
    assert "ath9k" not in index["modules.alias"]
    assert "kernel/fs/nfs/nfs.ko: kernel/net/sunrpc/sunrpc.ko\n" in index["modules.dep"]


def test_modules_of_every_compression_load(tmp_path: Path) -> None:
    compressor = zlib.compressobj(wbits=31)
    packed = {
        "a.ko": b"elf",
        "a.ko.xz": lzma.compress(b"elf"),
        "a.ko.zst": zstandard.compress(b"elf"),
        "a.ko.gz": compressor.compress(b"elf") + compressor.flush(),
    }
    for name, data in packed.items():
        (tmp_path / name).write_bytes(data)
        assert modules.load(tmp_path / name) == b"elf"


def test_firmware_names_are_found_in_modinfo() -> None:
    elf = b"\x7fELF\0license=GPL\0firmware=rtl_nic/a.fw\0firmware=bnx2/b.fw\0depends=\0"
    assert modules.firmware_of(elf) == ("bnx2/b.fw", "rtl_nic/a.fw")
