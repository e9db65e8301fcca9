"""Which modules an initrd gets: asked of modules whose files are called anything."""

from __future__ import annotations

import lzma
import zlib
from pathlib import Path

import pytest
import zstandard

from storeboot.errors import UnbootableError
from storeboot.initrd import modprobe, modules
from storeboot.initrd.module_tree import ModuleTree, load, module_name, read_tree
from storeboot.initrd.modules import Needs
from storeboot.nix.store import StoreTree
from unit.kernel_modules import Kernel, Module, elf

ETHERNET = ("alloc_etherdev_mqs",)
# Nothing about where their files are tells what they are.
NFS = (
    Module("a/sunrpc.ko"),
    Module("a/nfs.ko", needs=("sunrpc",)),
    Module("a/nfsv3.ko", needs=("nfs", "sunrpc")),
    Module("a/nfsv4.ko", needs=("nfs", "sunrpc")),
    Module("a/overlay.ko"),
)
PCI = (
    Module("a/ptp.ko"),
    Module("a/e1000e.ko", ETHERNET, ("pci:v00008086d*",), ("ptp",)),
    Module("a/glue.ko", (), ("pci:v0000BEEFd*",), ("engine",)),
    Module("a/engine.ko", ("devm_alloc_etherdev_mqs",)),
    Module("a/core.ko", (), ("pci:v000015B3d*",)),
    Module("a/core_en.ko", ETHERNET, (), ("core",)),
)
VIRTUAL = (
    Module("a/xen-netfront.ko", ETHERNET, ("xen:vif",)),
    Module("a/failover.ko"),
    Module("a/virtio_net.ko", ETHERNET, ("virtio:d00000001v*",), ("failover",)),
    Module("a/virtio-transport.ko", ("register_virtio_device",), ("pci:v00001AF4d*",)),
    Module("a/hv_vmbus.ko", (), ("acpi*:VMBUS:*",)),
    Module("a/hv_netvsc.ko", ETHERNET, ("vmbus:635161f8",), ("hv_vmbus",)),
    Module("a/thunderbolt.ko", (), ("pci:v*bc0Csc03i40*",)),
    Module("a/thunderbolt-net.ko", ETHERNET, ("tbsvc:knetworkp*",), ("thunderbolt",)),
)
USB = (
    Module("a/usbnet.ko"),
    Module("a/cdc_ether.ko", ("usbnet_probe",), ("usb:v*dc*ic02isc06*",), ("usbnet",)),
    Module("a/r8152.ko", ETHERNET, ("usb:v0BDAp8152d*",)),
    Module("a/xhci-hcd.ko", ("usb_add_hcd",)),
    Module("a/xhci-pci.ko", ("usb_hcd_pci_probe",), ("pci:v*bc0Csc03i30*",), ("xhci_hcd",)),
    Module("a/xhci-variant.ko", (), ("pci:v00001912d*",), ("xhci_pci", "xhci_hcd")),
)
PHYS = (
    Module("a/r8169.ko", (*ETHERNET, "phy_connect_direct"), ("pci:v000010ECd*",)),
    Module("a/realtek.ko", (), ("mdio:0000000000011100*",)),
)
OTHERS = (
    Module("a/ath9k.ko", ("ieee80211_alloc_hw_nm",), ("pci:v0000168Cd*",)),
    Module("a/old_radio.ko", (*ETHERNET, "wireless_send_event"), ("pci:v00008086d0001*",)),
    Module("a/modem.ko", ("usbnet_probe", "usb_cdc_wdm_register"), ("usb:v1199p*",), ("usbnet",)),
    Module("a/switch.ko", (*ETHERNET, "dsa_register_switch"), ("of:N*T*Cswitch",)),
    Module("a/bonding.ko", ETHERNET, ("rtnl-link-bond",)),
    Module("a/graphics.ko", (), ("pci:v000010DEd*",)),
    Module("a/gadget-host.ko", ("usb_add_hcd",)),
)
EVERY = Needs()
ALL = (*NFS, *PCI, *VIRTUAL, *USB, *PHYS, *OTHERS)


def tree(tmp_path: Path, *made: Module, **more: str) -> ModuleTree:
    names = {name.replace("_", "."): text for name, text in more.items()}
    chosen = list(made or ALL)
    return Kernel(tmp_path / "6.12.1", chosen, ("af_packet",), names).tree()


def names(files: tuple[str, ...]) -> set[str]:
    return {module_name(file) for file in files}


def chosen(tree: ModuleTree, needs: Needs = EVERY, text: str = "") -> set[str]:
    """What is chosen besides the modules of NFS."""
    found = names(modules.needed(tree, needs, "x", modprobe.parse([text])))
    return found - {module_name(each.file) for each in NFS}


def test_every_wired_driver_and_its_bus_and_all_that_it_needs(tmp_path: Path) -> None:
    wanted = (*NFS, *PCI, *VIRTUAL, *USB, *PHYS)
    found = names(modules.needed(tree(tmp_path), Needs(), "x"))
    assert found == {module_name(each.file) for each in wanted}


def test_a_radio_a_modem_and_a_switch_are_no_wired_nics(tmp_path: Path) -> None:
    assert chosen(tree(tmp_path, *NFS, Module("a/usbnet.ko"), *OTHERS)) == set()


@pytest.mark.parametrize(
    ("driver", "comes"),
    [
        ("virtio-net", {"virtio_net", "failover", "virtio_transport"}),
        ("r8152", {"r8152", "xhci_pci", "xhci_hcd", "xhci_variant"}),
        ("cdc_ether", {"cdc_ether", "usbnet", "xhci_pci", "xhci_hcd", "xhci_variant"}),
        ("thunderbolt_net", {"thunderbolt_net", "thunderbolt"}),
        ("hv_netvsc", {"hv_netvsc", "hv_vmbus"}),
        ("xen-netfront", {"xen_netfront"}),
        ("r8169", {"r8169", "realtek"}),
        ("e1000e", {"e1000e", "ptp"}),
    ],
)
def test_a_driver_comes_with_what_it_hangs_on(tmp_path: Path, driver: str, comes: set[str]) -> None:
    assert chosen(tree(tmp_path), Needs((driver,))) == comes


def test_the_devices_of_a_known_machine_are_enough(tmp_path: Path) -> None:
    own = ("pci:v00008086d000015B8sv", "pci:v0000168Cd0001", "usb:v0BDAp8152d2000")
    made = tree(tmp_path)
    assert chosen(made, Needs(devices=own)) == {
        "e1000e", "ptp", "r8152", "xhci_pci", "xhci_hcd", "xhci_variant"
    }  # fmt: skip
    assert chosen(made, Needs(devices=("hv_netvsc",))) == {"hv_netvsc", "hv_vmbus"}
    assert chosen(made, Needs(devices=("pci:v00009999d0001",))) == chosen(made)


def test_a_blacklisted_driver_is_left_out_and_one_that_is_named_is_said(tmp_path: Path) -> None:
    made = tree(tmp_path)
    assert {"r8152"} == chosen(made) - chosen(made, text="blacklist r8152\n")
    assert {"e1000e"} == chosen(made) - chosen(made, text="install e1000e /bin/false") - {"ptp"}
    configuration = modprobe.parse([], ["modprobe.blacklist=e1000e,xen-netfront"])
    found = names(modules.needed(made, Needs(), "x", configuration))
    assert not found & {"e1000e", "xen_netfront"}
    with pytest.raises(UnbootableError, match="x blacklists the network driver r8152"):
        chosen(made, Needs(("r8152",)), "blacklist r8152")


def test_a_module_that_the_boot_needs_may_not_be_forbidden(tmp_path: Path) -> None:
    with pytest.raises(UnbootableError, match=r"x forbids nfs, .*: install sunrpc /bin/true"):
        chosen(tree(tmp_path), text="install sunrpc /bin/true")


def test_an_install_line_that_loads_the_module_after_all_changes_nothing(tmp_path: Path) -> None:
    made = tree(tmp_path)
    line = "install e1000e modprobe --ignore-install e1000e && /bin/true"
    assert chosen(made, text=line) == chosen(made)


def test_a_soft_dependency_comes_along_and_is_loaded_before(tmp_path: Path) -> None:
    """busybox's modprobe knows no soft dependencies."""
    soft = "softdep e1000e pre: realtek post: graphics\n"
    made = tree(tmp_path, modules_softdep=soft)
    files = modules.needed(made, Needs(("e1000e",)), "x")
    assert {"realtek", "graphics"} <= names(files)
    dep = modules.index_files(made, files)["modules.dep"].splitlines()
    assert "kernel/a/e1000e.ko: kernel/a/ptp.ko kernel/a/realtek.ko" in dep
    own = modprobe.parse(["softdep virtio_net \\\n pre: crc\nalias crc realtek"])
    files = modules.needed(made, Needs(("virtio_net",)), "x", own)
    assert "realtek" not in names(files)  # an alias of modprobe.d names no module of depmod's
    own = modprobe.parse(["softdep virtio-net pre: realtek"])
    assert "realtek" in names(modules.needed(made, Needs(("virtio_net",)), "x", own))


def test_soft_dependencies_in_a_circle_end(tmp_path: Path) -> None:
    soft = "softdep e1000e pre: r8169\nsoftdep r8169 pre: e1000e\n"
    made = tree(tmp_path, modules_softdep=soft)
    files = modules.needed(made, Needs(("e1000e",)), "x")
    dep = dict(
        line.split(":") for line in modules.index_files(made, files)["modules.dep"].splitlines()
    )
    assert dep["kernel/a/e1000e.ko"].split() == ["kernel/a/ptp.ko", "kernel/a/r8169.ko"]


def test_options_and_aliases_of_the_system_come_along(tmp_path: Path) -> None:
    made = tree(tmp_path)
    text = "options e1000e debug=1\noptions graphics modeset=0\nalias eth0 e1000e\n"
    own = modprobe.parse([text, "blacklist r8152"])
    files = modules.needed(made, Needs(("e1000e",)), "x", own)
    assert modules.options_file(files, own) == "options e1000e debug=1\n"
    every = modules.needed(made, Needs(), "x")
    alias = modules.index_files(made, every, own)["modules.alias"]
    assert alias.startswith("alias eth0 e1000e\n")
    assert "r8152" not in alias


def test_local_disks_and_zram_only_where_they_are_asked_for(tmp_path: Path) -> None:
    disks = [
        Module("drivers/ata/ahci.ko"),
        Module("fs/ext4/ext4.ko"),
        Module("drivers/block/zram/zram.ko"),
    ]
    made = tree(tmp_path, *NFS, *disks)
    assert not chosen(made) & {"ahci", "ext4", "zram"}
    assert chosen(made, Needs(disk=True)) >= {"ahci", "ext4"}
    assert "zram" in chosen(made, Needs(zram=True))
    with pytest.raises(UnbootableError, match="no module zram"):
        chosen(tree(tmp_path / "other", *NFS), Needs(zram=True))


def test_an_unknown_driver_is_named(tmp_path: Path) -> None:
    with pytest.raises(UnbootableError, match="no network driver nonesuch"):
        chosen(tree(tmp_path), Needs(("nonesuch",)))


@pytest.mark.parametrize("lost", ["nfsv3", "nfsv4", "overlay"])
def test_a_kernel_without_what_the_boot_needs_is_refused(tmp_path: Path, lost: str) -> None:
    rest = [each for each in NFS if module_name(each.file) != lost]
    with pytest.raises(UnbootableError, match=f"no module {lost}$"):
        chosen(tree(tmp_path, *rest))


def test_the_index_has_the_included_modules_only(tmp_path: Path) -> None:
    made = tree(tmp_path)
    index = modules.index_files(made, modules.needed(made, Needs(), "x"))
    assert "alias pci:v00008086d* e1000e" in index["modules.alias"]
    assert "ath9k" not in index["modules.alias"]
    assert "kernel/a/nfs.ko: kernel/a/sunrpc.ko\n" in index["modules.dep"]


def packed(data: bytes) -> dict[str, bytes]:
    compressor = zlib.compressobj(wbits=31)
    return {
        "a.ko": data,
        "a.ko.xz": lzma.compress(data),
        "a.ko.zst": zstandard.compress(data),
        "a.ko.gz": compressor.compress(data) + compressor.flush(),
    }


def test_modules_of_every_compression_load(tmp_path: Path) -> None:
    for name, data in packed(b"elf").items():
        (tmp_path / name).write_bytes(data)
        assert load(tmp_path / name) == b"elf"


@pytest.mark.parametrize("name", packed(b""))
@pytest.mark.parametrize("kept", [0, 3, 0.5, 0.95])
def test_a_module_that_is_cut_off_is_named(tmp_path: Path, name: str, kept: float) -> None:
    data = packed(elf(["alloc_etherdev_mqs"], ["firmware=a"]))[name]
    (tmp_path / name).write_bytes(
        data[: int(kept * len(data)) if isinstance(kept, float) else kept]
    )
    (tmp_path / "modules.dep").write_text(f"{name}:\n")
    made = read_tree(StoreTree.plain(tmp_path))
    with pytest.raises(UnbootableError, match=rf"module {tmp_path}/{name} is damaged: \w+"):
        made.load(name)


def test_firmware_names_are_found_in_modinfo_and_nowhere_else() -> None:
    module = elf(
        ["firmware=c.fw"], ["license=GPL", "firmware=rtl_nic/a.fw", "firmware=b.fw", "depends="]
    )
    assert modules.firmware_of(module) == ("b.fw", "rtl_nic/a.fw")


def test_the_firmware_of_built_in_drivers_is_known(tmp_path: Path) -> None:
    words = (
        "tg3.file=drivers/net/ethernet/broadcom/tg3", "tg3.firmware=tigon/tg3.bin",
        "iwl.file=drivers/net/wireless/intel/iwl", "iwl.firmware=iwl.ucode",
        "radeon.file=drivers/gpu/drm/radeon/radeon", "radeon.firmware=radeon.bin",
    )  # fmt: skip
    made = tree(tmp_path, *NFS, modules_builtin_modinfo="".join(f"{word}\0" for word in words))
    assert made.built_in_firmware == ("tigon/tg3.bin",)
