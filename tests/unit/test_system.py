"""Toplevels as NixOS writes them, and what of them is refused or masked."""

from __future__ import annotations

import json
import platform
from pathlib import Path

import pytest
from pydantic import ValidationError

from storeboot.boot.plan import make_plan
from storeboot.errors import UnbootableError
from storeboot.hosts.host import Host
from storeboot.initrd.builder import own
from storeboot.nix.store import StorePath
from storeboot.nix.system import kernel_machine
from storeboot.nix.toplevel import Stage1
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
