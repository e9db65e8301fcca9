"""Toplevels as NixOS writes them, and what of them is refused or masked."""

from __future__ import annotations

import json
import platform
import shutil
from pathlib import Path

import pytest
from pydantic import ValidationError

from storeboot.boot.plan import make_plan
from storeboot.errors import UnbootableError
from storeboot.hosts.host import Host
from storeboot.initrd.builder import own
from storeboot.initrd.module_tree import read_tree
from storeboot.initrd.modules import Needs, needed
from storeboot.nix.store import StorePath
from storeboot.nix.system import broken_specialisations, kernel_machine, specialisations
from storeboot.nix.toplevel import Stage1
from unit.kernel_modules import Kernel, Module
from unit.toplevels import BOOTSPEC, TOP, Toplevel


@pytest.fixture
def toplevel(tmp_path: Path) -> Toplevel:
    return Toplevel(tmp_path)


def test_scripted_system(toplevel: Toplevel) -> None:
    system = toplevel.read()
    assert system.stage1 is Stage1.SCRIPTED
    assert system.kernel_params == ("loglevel=4", "root=fstab")
    assert (system.init, system.kernel_version) == (f"{TOP}/init", "6.12.1")


def test_systemd_system(toplevel: Toplevel) -> None:
    toplevel.write("prepare-root", "#!/bin/sh\n")
    toplevel.write("init", "\x7fELF")
    assert toplevel.read().stage1 is Stage1.SYSTEMD


def test_bootspec_preview_and_none_at_all(toplevel: Toplevel) -> None:
    toplevel.write("boot.json", json.dumps({"v1": {**BOOTSPEC, "kernelParams": ["preview"]}}))
    assert toplevel.read().kernel_params == ("preview",)
    (toplevel.path / "boot.json").unlink()
    toplevel.write("kernel-params", "a b=c")
    assert toplevel.read().kernel_params == ("a", "b=c")


def test_local_disks_are_masked_and_said(toplevel: Toplevel) -> None:
    toplevel.write("etc/fstab", "/dev/sda1 /data ext4\n/dev/sda2 / ext4 x-initrd.mount\n")
    system = toplevel.read()
    assert [entry.mount_point for entry in system.masked] == ["/data"]
    assert [found.id for found in system.findings] == ["disk-masked"]
    assert "/data" in system.findings[0].subject


def test_a_swap_file_is_masked_too(toplevel: Toplevel) -> None:
    """In a tmpfs it would take the memory that it is to spare."""
    toplevel.write("etc/fstab", "/var/swapfile none swap defaults\n")
    plan = make_plan(Host(name="lab1", system=StorePath(TOP)), toplevel.read(), "0" * 32, bytes(32))
    assert "systemd.swap=no" in plan.command_line("http://192.168.1.1:8080").split()


@pytest.mark.parametrize(
    ("name", "text", "said"),
    [
        ("etc/fstab", "/dev/sda1 /var ext4 x-initrd.mount", "neededForBoot"),
        ("etc/crypttab", "root /dev/sda1", "LUKS"),
        ("append-initrd-secrets", "#!/bin/sh\n  cp -a /etc/secret x\n", "fetch the secrets"),
        ("boot.json", json.dumps({"org.nixos.bootspec.v1": {}, "org.nixos.nixos-init.v1": {}}),
         "nixos-init"),
        ("boot.json", "{", "not JSON"),
        ("init", "\x7fELF", "neither a stage-2 script"),
    ],
)  # fmt: skip
def test_what_cannot_boot_without_a_disk_is_refused_by_name(
    toplevel: Toplevel, name: str, text: str, said: str
) -> None:
    toplevel.write(name, text)
    with pytest.raises(UnbootableError, match=said) as caught:
        toplevel.read()
    assert caught.value.hint


OTHER = "/nix/store/" + "1" * 32 + "-linux-6.12.1-modules"


@pytest.mark.parametrize("linked", ["", "lib", "lib/modules/6.12.1"])
def test_modules_are_followed_into_another_store_path_at_every_step(
    toplevel: Toplevel, linked: str
) -> None:
    """As kmod's aggregator of nixpkgs makes them; the store is below another root."""
    own, other = toplevel.path / "kernel-modules", toplevel.store.physical(StorePath(OTHER))
    driver = Module("net/e1000e.ko", ("alloc_etherdev_mqs",), ("pci:v00008086d*",))
    Kernel(other / "lib/modules/6.12.1", [driver]).write()
    shutil.rmtree(own)
    (own / linked).parent.mkdir(parents=True, exist_ok=True)
    (own / linked).symlink_to(f"{OTHER}/{linked}")
    system = toplevel.read()
    assert system.kernel_version == "6.12.1"
    tree = read_tree(system.modules)
    assert needed(tree, Needs(), "x") == ("kernel/net/e1000e.ko",)
    assert tree.load("kernel/net/e1000e.ko")[:4] == b"\x7fELF"


def test_lists_and_modules_may_be_links_too(toplevel: Toplevel) -> None:
    other = toplevel.store.physical(StorePath(OTHER)) / "lib/modules/6.12.1"
    driver = Module("net/e1000e.ko", ("alloc_etherdev_mqs",), ("pci:v00008086d*",))
    Kernel(other, [driver]).write()
    own = toplevel.path / "kernel-modules/lib/modules/6.12.1"
    (own / "modules.dep").unlink()
    for name in ("modules.dep", "modules.alias", "modules.builtin", "kernel"):
        (own / name).symlink_to(f"{OTHER}/lib/modules/6.12.1/{name}")
    tree = read_tree(toplevel.read().modules)
    assert needed(tree, Needs(), "x") == ("kernel/net/e1000e.ko",)
    assert tree.load("kernel/net/e1000e.ko")[:4] == b"\x7fELF"


def test_firmware_is_followed_into_other_store_paths(toplevel: Toplevel) -> None:
    other = toplevel.store.physical(StorePath(OTHER))
    (other / "lib/firmware/rtl_nic").mkdir(parents=True)
    (other / "lib/firmware/rtl_nic/a.fw.zst").write_text("bytes")
    (toplevel.path / "firmware").mkdir()
    (toplevel.path / "firmware/rtl_nic").symlink_to(f"{OTHER}/lib/firmware/rtl_nic")
    (directory,) = toplevel.read().firmware
    assert directory.file("rtl_nic/a.fw.zst") == other / "lib/firmware/rtl_nic/a.fw.zst"


SPECIAL = "/nix/store/" + "2" * 32 + "-nixos-system-lab1-gpu"


def test_only_specialisations_that_lead_to_a_system_are_there(toplevel: Toplevel) -> None:
    store, special = toplevel.store, toplevel.path / "specialisation"
    gpu, agent = store.physical(StorePath(SPECIAL)), store.physical(StorePath(OTHER))
    gpu.mkdir()
    (agent / "specialisation").mkdir(parents=True)
    (agent / "specialisation/gpu").symlink_to(SPECIAL)
    special.mkdir()
    links = {
        "plain": SPECIAL,
        "beyond": f"{OTHER}/specialisation/gpu",
        "inside": f"{OTHER}/specialisation",
        "lost": f"/nix/store/{'3' * 32}-nixos-system-lost",
        "out": "/srv/gpu",
        "round": "round",
    }
    for name, target in links.items():
        (special / name).symlink_to(target)
    (special / "word").write_text("no link")
    found = specialisations(store, StorePath(TOP))
    assert found == {"beyond": StorePath(SPECIAL), "plain": StorePath(SPECIAL)}
    broken = broken_specialisations(store, StorePath(TOP))
    assert set(broken) == {"inside", "lost", "out", "round", "word"}
    assert broken["out"] == "leads out of /nix/store, to /srv"
    assert "round in a circle" in broken["round"]
    assert "which does not exist" in broken["lost"]


@pytest.mark.parametrize(
    "name", ["init", "kernel", "kernel-modules/lib/modules/6.12.1/modules.dep"]
)
def test_a_path_that_is_no_system_is_refused(toplevel: Toplevel, name: str) -> None:
    (toplevel.path / name).unlink()
    with pytest.raises(UnbootableError):
        toplevel.read()


def test_mode_native_boots_the_systems_own_initrd(toplevel: Toplevel) -> None:
    with pytest.raises(UnbootableError, match="no initrd of its own"):
        own(toplevel.read())
    toplevel.write("initrd", "an archive")
    system = toplevel.read()
    assert own(system).path.read_text() == "an archive"
    native = make_plan(Host(name="lab1", mode="native"), system, "0" * 32, b"key")
    line = native.command_line("http://192.168.1.1:8080")
    # The host name is nobody's in an initrd, so this is what tells NFSv4 clients apart.
    assert f"nfs.nfs4_unique_id=storeboot-{native.machine_id}" in line.split()
    packed = make_plan(Host(name="lab1"), system, "0" * 32, b"key")
    assert "nfs4_unique_id" not in packed.command_line("http://192.168.1.1:8080")


def test_a_hosts_consoles_take_the_place_of_its_systems(toplevel: Toplevel) -> None:
    params = ["loglevel=4", "console=ttyS0,9600", "console=tty0", "root=fstab"]
    bootspec = {"org.nixos.bootspec.v1": {**BOOTSPEC, "kernelParams": params}}
    toplevel.write("boot.json", json.dumps(bootspec))
    system = toplevel.read()

    def consoles(own: tuple[str, ...] = (), params: tuple[str, ...] = ()) -> list[str]:
        host = Host(name="lab1", console=own, kernel_params=params)
        plan = make_plan(host, system, "0" * 32, b"key")
        words = plan.command_line("http://192.168.1.1:8080").split()
        assert {"loglevel=4", "root=fstab"} <= set(words)
        return [word for word in words if word.startswith("console=")]

    assert consoles() == ["console=ttyS0,9600", "console=tty0"]
    own = ("tty0", "ttyS0,115200n8")
    assert consoles(own) == ["console=tty0", "console=ttyS0,115200n8"]
    assert consoles(own, params=("quiet", "console=hvc0"))[-1] == "console=hvc0"
    with pytest.raises(ValidationError, match="is not a console"):
        Host(name="lab1", console=("ttyS0 init=/bin/sh",))


def test_an_appender_without_secrets_is_nothing(toplevel: Toplevel) -> None:
    toplevel.write("append-initrd-secrets", "#!/bin/sh\nmkdir -p x\n")
    assert toplevel.read().findings == ()


@pytest.mark.parametrize(
    ("head", "machine"),
    [
        (bytes(0x38) + b"ARM\x64" + bytes(64), "aarch64"),
        (b"MZ" + bytes(0x3A) + b"\x40\0\0\0" + b"PE\0\0\x64\x86" + bytes(64), "x86_64"),
        (b"MZ" + bytes(0x3A) + b"\x40\0\0\0" + b"PE\0\0\x64\xaa" + bytes(64), "aarch64"),
        (b"", platform.machine()),
    ],
)
def test_a_kernel_says_what_it_is_for(tmp_path: Path, head: bytes, machine: str) -> None:
    (tmp_path / "kernel").write_bytes(head)
    assert kernel_machine(tmp_path / "kernel") == machine
