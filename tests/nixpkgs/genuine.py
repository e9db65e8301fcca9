"""NixOS' own stage-1 and stage-2 scripts, put together as nixpkgs would."""

from __future__ import annotations

import hashlib
import platform
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from e2e.native_initrd import HERE, module_members, write
from modules.worlds import HERE as MODULES
from modules.worlds import nix
from storeboot.initrd import cpio
from storeboot.initrd.busybox import find_busybox
from storeboot.vm.demo.build import DemoSystem
from storeboot.vm.demo.unpack import Tree

UTILITIES = "extra-utils"
# Enough of udev: drivers by their aliases, once.
UDEVADM = """#!/bin/sh
[ "$1" = trigger ] || exit 0
modprobe -a -q $(cat $(find /sys/devices -name modalias) | sort -u) 2>/dev/null
"""
# nixpkgs' own places of what stands in for packages.
UDHCPC = "nix/store/00000000000000000000000000000000-udhcp-script"


@dataclass(frozen=True, slots=True)
class Script:
    """A script of nixpkgs with names in it, and the files that it reads."""

    text: str
    files: Mapping[str, str]


def scripts(nixpkgs: str, module: str) -> tuple[Script, Script]:
    """Stage 1 and stage 2 of a configuration."""
    found = nix(
        f"import {MODULES}/genuine.nix {{ nixpkgs = {nixpkgs}; "
        f"module = {{ lib, ... }}: {{ {module} }}; }}"
    )
    stage1 = {"shell": f"/{UTILITIES}/bin/ash", "extraUtils": f"/{UTILITIES}"}
    stage2 = {
        "shell": "@bash@",
        "path": "@busybox@/bin",
        "systemConfig": "@systemConfig@",
        "systemdExecutable": "@initProgram@",
    }
    return _script(found["stage1"], stage1), _script(found["stage2"], stage2)


def _script(found: Mapping[str, Any], ours: Mapping[str, str]) -> Script:
    text, files = Path(found["source"]).read_text(), dict[str, str]()
    for name, value in {**found["replacements"], **ours}.items():
        if isinstance(value, dict):  # a file, which is put at a place of its own
            files[f"genuine/{name}"] = value["text"]
            value = f"/genuine/{name}"
        text = text.replace(f"@{name}@", value)
    return Script(text, files)


def initrd(built: DemoSystem, directory: Path, script: Script) -> Tree:
    """Busybox in the place of nixpkgs' extra-utils; /bin is the script's own to make."""
    at = f"{UTILITIES}/bin"
    busybox = find_busybox(platform.machine(), None, {})
    start = f"#!/{at}/sh\n/{at}/busybox --install -s /{at}\nexec /stage-1\n"
    udhcpc = (HERE / "udhcpc-script.sh").read_text()
    programs = {
        "init": start,
        "stage-1": script.text,
        f"{at}/udevadm": UDEVADM,
        f"{at}/systemd-udevd": "#!/bin/sh\n",
        f"{at}/lvm": "#!/bin/sh\n",
        UDHCPC: udhcpc,
    }
    members = [
        cpio.regular(f"{at}/busybox", busybox.read_bytes(), 0o755),
        cpio.symlink(f"{at}/sh", "busybox"),
        cpio.character_device("dev/console", 0o600, 5, 1),
        cpio.character_device("dev/null", 0o666, 1, 3),
        *(cpio.regular(name, text.encode(), 0o755) for name, text in programs.items()),
        *(cpio.regular(name, text.encode()) for name, text in script.files.items()),
        *module_members(built),
        *(cpio.directory(name) for name in ("proc", "sys", "run")),
    ]
    return write(directory / "initrd-genuine", members)


def stage2(directory: Path, script: Script) -> Tree:
    """Files that it reads are part of it: the machine has no other place for them."""
    text = script.text
    for name, content in script.files.items():
        text = text.replace(f"@bash@ /{name}", content.strip() or ":")
        text = text.replace(f"source /{name}", content.strip() or ":")
    path = directory / "stage-2"
    path.write_text(text)
    return Tree(f"stage-2-{hashlib.sha256(text.encode()).hexdigest()[:12]}", path)
