"""Each rule over a system: files that it finds something in, and files that only look like them."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path

import pytest

from storeboot.deploy import hazards
from storeboot.errors import UnbootableError
from storeboot.findings import Finding, Level
from storeboot.nix import rules
from storeboot.nix.toplevel import BOOTSPEC_V1, NIXOS_INIT_V1
from unit.toplevels import BOOTSPEC, Toplevel

Tree = dict[str, str]  # text by file
WANTED = "etc/systemd/system/timers.target.wants/nix-optimise.timer"
SWITCH = "bin/switch-to-configuration"


@dataclass(frozen=True)
class Case:
    found: Tree
    not_found: tuple[Tree, ...]


def with_params(*params: str) -> Tree:
    spec = {**BOOTSPEC, "kernelParams": params}
    return {"boot.json": json.dumps({BOOTSPEC_V1: spec})}


CASES = {
    "disk-needed": Case(
        {"etc/fstab": "/dev/sda1 /var ext4 x-initrd.mount"},
        ({"etc/fstab": "/dev/sda1 /nix ext4 x-initrd.mount"}, {"etc/fstab": "/dev/sda1 /var ext4"}),
    ),
    "disk-masked": Case(
        {"etc/fstab": "/dev/sda1 /var ext4"}, ({"etc/fstab": "192.168.1.1:/home /home nfs"},)
    ),
    "nixos-init": Case(
        {"boot.json": json.dumps({BOOTSPEC_V1: BOOTSPEC, NIXOS_INIT_V1: {}})},
        ({"boot.json": json.dumps({BOOTSPEC_V1: BOOTSPEC})},),
    ),
    "luks": Case({"etc/crypttab": "root /dev/sda1"}, ({"etc/crypttab": "# root /dev/sda1\n\n"},)),
    "initrd-secrets": Case(
        {"append-initrd-secrets": "#!/bin/sh\n  cp -a /etc/secret x\n"},
        ({"append-initrd-secrets": "#!/bin/sh\nset -e\n"},),
    ),
    "etc-overlay": Case({"etc-metadata-image": ""}, ()),
    "client-optimise-timer": Case(
        {WANTED: "", "etc/nix/nix.conf": "# store = local-overlay://\nextra-store = x\n"},
        (
            {"etc/systemd/system/nix-optimise.timer": ""},
            {WANTED: "", "etc/nix/nix.conf": "cores = 0\nstore = local-overlay://?lower-store=x\n"},
        ),
    ),
    "kernel-param": Case(
        with_params("quiet", "hwaddr=${net0/mac}"),
        (
            with_params("quiet", 'dyndbg="file x.c +p ; file y.c +p"', "#", "x=$y", "initcall=1"),
            {"boot.json": "{}", "kernel-params": "quiet loglevel=4\n"},
        ),
    ),
    "client-auto-optimise": Case(
        {"etc/nix/nix.conf": "auto-optimise-store=false\n auto-optimise-store = true # all\n"},
        (
            {"etc/nix/nix.conf": "auto-optimise-store = true\nauto-optimise-store = false\n"},
            {"etc/nix/nix.conf": "# auto-optimise-store = true\nextra-auto-optimise-store = 1\n"},
        ),
    ),
    "client-gc-timer": Case(
        {"etc/systemd/system/timers.target.wants/nix-gc.timer": ""},
        ({"etc/systemd/system/nix-gc.timer": ""},),
    ),
    "boot-loader": Case(
        {SWITCH: f"export INSTALL_BOOTLOADER='/nix/store/{'0' * 32}-install-grub.sh'\n"},
        (
            {SWITCH: f"export INSTALL_BOOTLOADER='/nix/store/{'0' * 32}-coreutils-9.8/bin/true'"},
            {SWITCH: f"export OTHER='/nix/store/{'0' * 32}-install-grub.sh'\n"},
        ),
    ),
    "specialisation-broken": Case({"specialisation/gpu/init": ""}, ()),
}


def findings(root: Path, tree: Tree) -> tuple[Finding, ...]:
    toplevel = Toplevel(root)
    for name, text in tree.items():
        toplevel.write(name, text)
    return toplevel.findings()


@pytest.mark.parametrize("name", CASES)
def test_a_rule_finds_one_thing_and_names_it_and_its_cure(name: str, tmp_path: Path) -> None:
    (found,) = findings(tmp_path, CASES[name].found)
    assert found.id == name
    assert (found.cure == "") is (found.level is Level.NOTE)


@pytest.mark.parametrize(
    ("name", "tree"),
    [(name, tree) for name, case in CASES.items() for tree in ({}, *case.not_found)],
)
def test_a_rule_finds_nothing_elsewhere(name: str, tree: Tree, tmp_path: Path) -> None:
    assert name not in {found.id for found in findings(tmp_path, tree)}


@pytest.mark.parametrize(
    ("param", "said"),
    [
        ("quiet\nreboot", "control character"),
        ("x=\u0000y", "control character"),
        ("x=\ud800", "control character"),
        ("x=${uuid}", "which iPXE replaces"),
        ("init=/bin/sh", "storeboot alone sets"),
        ("storeboot.view=0", "storeboot alone sets"),
    ],
)
def test_a_kernel_parameter_that_would_not_arrive_is_refused_by_name(
    param: str, said: str, tmp_path: Path
) -> None:
    toplevel = Toplevel(tmp_path)
    for name, text in with_params("quiet", param).items():
        toplevel.write(name, text)
    with pytest.raises(UnbootableError) as caught:
        toplevel.read()
    assert f"boot.kernelParams {json.dumps(param)}: " in str(caught.value)
    assert said in str(caught.value)


def test_every_rule_has_a_case_and_a_name_of_its_own() -> None:
    names = [rule.__name__.replace("_", "-") for rule in rules.RULES]
    assert names == list(CASES)
    others = {rule.__name__.replace("_", "-") for rule in hazards.RULES}
    assert not others & set(names)
