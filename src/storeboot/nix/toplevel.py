"""The files of a NixOS toplevel.

nixpkgs: nixos/modules/system/activation/top-level.nix and bootspec.nix.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from enum import Enum
from functools import cached_property
from pathlib import Path
from typing import Any

from storeboot.errors import UnbootableError
from storeboot.nix.fstab import FstabEntry, parse_fstab
from storeboot.nix.masking import Masked, masked
from storeboot.nix.store import Store, StorePath

BOOTSPEC_V1 = "org.nixos.bootspec.v1"
NIXOS_INIT_V1 = "org.nixos.nixos-init.v1"


class Stage1(Enum):
    """The stage 1 that the system was built for (`boot.initrd.systemd.enable`)."""

    SCRIPTED = "scripted"
    SYSTEMD = "systemd"


@dataclass(frozen=True)
class Toplevel:
    """The files of one toplevel, which rules and `read_system` read.

    Methods raise UnbootableError if the path is not a system, or has no kernel.
    """

    store: Store
    path: StorePath

    def place(self, relative: str) -> Path | None:
        """Return where a file really is, or None if it does not exist in the store."""
        return self.store.follow(self.path, relative)

    def text(self, relative: str) -> str:
        """Return a file's text, or "" if it does not exist."""
        place = self.place(relative)
        return place.read_text() if place is not None and place.is_file() else ""

    @cached_property
    def fstab(self) -> tuple[FstabEntry, ...]:
        return parse_fstab(self.text("etc/fstab"))

    @cached_property
    def masked(self) -> tuple[Masked, ...]:
        """Return the entries of fstab that a machine without disks cannot have."""
        return masked(self.fstab)

    @cached_property
    def bootspec(self) -> dict[str, Any]:
        """Return boot.json: v1 under its key, the older preview under "v1", or nothing at all."""
        if self.place("boot.json") is None:
            return {}
        try:
            document = json.loads(self.text("boot.json"))
        except json.JSONDecodeError:
            raise UnbootableError(
                f"{self.path}/boot.json is not JSON", "build the system again"
            ) from None
        spec = document.get(BOOTSPEC_V1) or document.get("v1") or {}
        if NIXOS_INIT_V1 in document:
            spec = {**spec, NIXOS_INIT_V1: document[NIXOS_INIT_V1]}
        return dict(spec)

    @property
    def kernel_params(self) -> tuple[str, ...]:
        """Return `boot.kernelParams`, from boot.json or, in older systems, kernel-params."""
        params = self.bootspec.get("kernelParams")
        return tuple(self.text("kernel-params").split() if params is None else params)

    def stage1(self) -> Stage1:
        place = self.place("init")
        if place is None or not place.is_file():
            raise UnbootableError(
                f"{self.path} is not a NixOS system: it has no init",
                "give a toplevel: config.system.build.toplevel, or /run/current-system",
            )
        if self.place("prepare-root") is not None:
            return Stage1.SYSTEMD
        with place.open("rb") as stream:
            if stream.read(2) == b"#!":
                return Stage1.SCRIPTED
        if NIXOS_INIT_V1 in self.bootspec:
            return Stage1.SYSTEMD
        raise UnbootableError(
            f"{self.path} has neither a stage-2 script as init nor prepare-root",
            "storeboot boots systems with NixOS' scripted or systemd stage 1",
        )

    def kernel(self) -> Path:
        place = self.place("kernel")
        if place is None or not place.is_file():
            raise UnbootableError(
                f"{self.path} has no kernel", "set boot.kernel.enable = true and build again"
            )
        return place

    def modules(self) -> Path:
        base = self.place("kernel-modules")
        parent = base / "lib/modules" if base is not None else None
        versions = sorted(parent.iterdir()) if parent is not None and parent.is_dir() else []
        if len(versions) != 1 or not versions[0].joinpath("modules.dep").is_file():
            raise UnbootableError(
                f"{self.path} has no kernel-modules with one lib/modules/<version>",
                "set boot.kernel.enable = true and build again",
            )
        return versions[0]
