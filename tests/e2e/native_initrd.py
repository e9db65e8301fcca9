"""Initrds of systems that mount their store themselves, after the contracts of NixOS' stage 1."""

from __future__ import annotations

import hashlib
import platform
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from e2e.systems import drivers
from storeboot.initrd import cpio, module_tree, modules
from storeboot.initrd.busybox import find_busybox
from storeboot.nix.system import read_system
from storeboot.vm.demo.build import DemoSystem
from storeboot.vm.demo.unpack import Tree

HERE = Path(__file__).parent
PREFIXED = ("lowerdir", "upperdir", "workdir")


def in_order(file_systems: Mapping[str, Any]) -> list[tuple[str, str, str, tuple[str, ...]]]:
    """Mount point, device, type and options, of what modules were evaluated to.

    Parents come first, and an overlay after its layers: as nixpkgs' toposort has it.
    """
    found = []
    for point in sorted(file_systems, key=lambda each: (each == "/nix/store", each)):
        fs = file_systems[point]
        options, overlay = tuple(fs["options"]), fs["overlay"]
        if overlay:
            options = (
                f"lowerdir={':'.join(overlay['lowerdir'])}",
                f"upperdir={overlay['upperdir']}",
                f"workdir={overlay['workdir']}",
            )
        kind = "overlay" if overlay else fs["fsType"]
        found.append((point, fs["device"] or kind, kind, options))
    return found


def fs_info(file_systems: Mapping[str, Any]) -> str:
    """As stage-1.nix writes it: four lines each."""
    return "".join(
        f"{point}\n{device}\n{kind}\n{','.join(options)}\n"
        for point, device, kind, options in in_order(file_systems)
    )


def scripted(
    built: DemoSystem, directory: Path, file_systems: Mapping[str, Any], *, flush: bool
) -> Tree:
    """With busybox and one script."""
    script = (HERE / "stage1_scripted.sh").read_text()
    script = script.replace("@flush@", "true" if flush else "false")
    members = [
        cpio.regular("init", script.encode(), 0o755),
        cpio.regular("fileSystems", fs_info(file_systems).encode()),
        *busybox_members(),
        *module_members(built),
    ]
    return write(directory / "initrd-scripted", members)


def busybox_members() -> list[cpio.Member]:
    busybox = find_busybox(platform.machine(), None, {})
    return [
        cpio.regular("bin/busybox", busybox.read_bytes(), 0o755),
        cpio.symlink("bin/sh", "busybox"),
        cpio.regular("bin/udhcpc-script", (HERE / "udhcpc-script.sh").read_bytes(), 0o755),
        cpio.character_device("dev/console", 0o600, 5, 1),
        cpio.character_device("dev/null", 0o666, 1, 3),
    ]


def module_members(built: DemoSystem) -> list[cpio.Member]:
    """Kernel modules for the card, NFS and overlayfs, with their indexes."""
    system = read_system(built.store, built.toplevel)
    tree = module_tree.read_tree(system.modules)
    files = modules.needed(tree, modules.Needs(drivers(built)), built.toplevel.text)
    base = f"lib/modules/{system.kernel_version}"
    loaded = [cpio.regular(f"{base}/{module_tree.plain(file)}", tree.load(file)) for file in files]
    index = modules.index_files(tree, files)
    return [
        *loaded,
        *(cpio.regular(f"{base}/{name}", text.encode()) for name, text in index.items()),
    ]


def write(path: Path, members: Iterable[cpio.Member]) -> Tree:
    """An uncompressed archive; its name in the store tells its content apart."""
    data = b"".join(cpio.archive(cpio.with_parents(list(members))))
    path.write_bytes(data)
    return Tree(f"{path.name}-{hashlib.sha256(data).hexdigest()[:12]}", path)
