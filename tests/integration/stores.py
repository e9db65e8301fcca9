"""Small, real Nix stores."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from storeboot.nix.store import Store, StorePath
from storeboot.process import run

QUIET = ["--option", "build-users-group", ""]


def add(store: Store, directory: Path) -> StorePath:
    """A directory, added to the store by Nix."""
    store.root.mkdir(parents=True, exist_ok=True)
    output = run(["nix-store", "--store", store.root, *QUIET, "--add", directory])
    return StorePath.from_arg(output.strip())


def toplevel_tree(directory: Path, specialisations: Mapping[str, StorePath] | None = None) -> Path:
    """The files of a system that is right, and whose kernel is a few bytes."""
    tree = directory / "nixos-system-test-1"
    for name, system in (specialisations or {}).items():
        (tree / "specialisation").mkdir(parents=True, exist_ok=True)
        (tree / "specialisation" / name).symlink_to(system.text)
    modules = tree / "kernel-modules" / "lib" / "modules" / "6.12.1"
    modules.mkdir(parents=True)
    built_in = ("nfs", "nfsv3", "nfsv4", "overlay")
    (modules / "modules.builtin").write_text("".join(f"kernel/fs/{n}.ko\n" for n in built_in))
    (modules / "modules.dep").write_text("")
    (tree / "kernel").write_bytes(bytes(range(256)) * 64)
    (tree / "kernel-params").write_text("loglevel=4")
    (tree / "init").write_text("#!/bin/sh\n")
    (tree / "bin").mkdir()
    (tree / "bin" / "tool").write_text("#!/bin/sh\necho tool\n")
    (tree / "bin" / "tool").chmod(0o755)
    (tree / "bin" / "link").symlink_to("tool")
    return tree
