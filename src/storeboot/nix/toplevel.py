"""The files of a NixOS toplevel.

nixpkgs: nixos/modules/system/activation/top-level.nix and bootspec.nix.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from enum import Enum
from functools import cached_property
from pathlib import Path
from typing import Any

from storeboot.errors import UnbootableError
from storeboot.nix.fstab import FstabEntry, parse_fstab
from storeboot.nix.masking import Masked, masked
from storeboot.nix.store import Store, StorePath, StoreTree

_MODULES = (
    "storeboot's initrd needs the modules of the system's kernel: build it with a kernel that has "
    "them (Linux option MODULES), and with boot.kernel.enable = true"
)
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
        """Return a file's text, or "" if it does not exist.

        Bytes that are not UTF-8 are kept as surrogates (PEP 383): in a comment they do no harm.
        """
        place = self.place(relative)
        if place is None or not place.is_file():
            return ""
        try:
            return place.read_text(errors="surrogateescape")
        except OSError as error:
            raise UnbootableError(
                f"{self.path}/{relative} cannot be read: {error.strerror}",
                "let the user of storeboot read the store, and look at its disk: dmesg",
            ) from None

    def _words(self, relative: str) -> str:
        """Return the text of a file that means something in all its lines, so must be UTF-8."""
        text = self.text(relative)
        for number, line in enumerate(text.splitlines(), 1):
            if not line.isascii() and _is_foreign(line) and not line.lstrip().startswith("#"):
                raise UnbootableError(
                    f"{self.path}/{relative}, line {number} is not UTF-8: {_shown(line)}",
                    "write the file in UTF-8 and build the system again",
                )
        return text

    @cached_property
    def fstab(self) -> tuple[FstabEntry, ...]:
        return parse_fstab(self._words("etc/fstab"))

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
            document = json.loads(self.text("boot.json").removeprefix("\ufeff"))
        except (ValueError, RecursionError):
            raise self._spoilt("is not JSON") from None
        document = self._object(document, "")
        spec = document.get(BOOTSPEC_V1) or document.get("v1") or {}
        spec = dict(self._object(spec, f"{BOOTSPEC_V1} "))
        if NIXOS_INIT_V1 in document:
            spec[NIXOS_INIT_V1] = document[NIXOS_INIT_V1]
        for name in ("label", "system", "initrdSecrets"):
            if not isinstance(spec.get(name) or "", str):
                raise self._spoilt(f"{name} is no text, but {_kind(spec[name])}")
        return spec

    def _object(self, value: object, name: str) -> dict[str, Any]:
        if isinstance(value, dict):
            return value
        raise self._spoilt(f"{name}is no object, but {_kind(value)}")

    def _spoilt(self, what: str) -> UnbootableError:
        return UnbootableError(f"{self.path}/boot.json {what}", "build the system again")

    @property
    def kernel_params(self) -> tuple[str, ...]:
        """Return `boot.kernelParams`, from boot.json or the file of systems before it."""
        found = self.bootspec.get("kernelParams")
        if found is None:
            return tuple(self._words("kernel-params").split())
        if not isinstance(found, list) or not all(isinstance(each, str) for each in found):
            raise self._spoilt("kernelParams is no list of texts")
        return tuple(found)

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

    def modules(self) -> StoreTree:
        """Return the directory lib/modules/<version> (nixpkgs: pkgs/build-support/kernel and
        kmod's aggregator.nix, which links to other store paths at any step)."""
        parent = self._found("kernel-modules/lib/modules", "the system has no kernel modules")
        versions = parent.names()
        if len(versions) != 1:
            what = f"has modules of {len(versions)} kernels: {', '.join(versions)}"
            raise UnbootableError(
                f"{self.path}/kernel-modules/lib/modules " + (what if versions else "is empty"),
                "take boot.extraModulePackages from config.boot.kernelPackages and build again"
                if versions else _MODULES,
            )  # fmt: skip
        relative = f"kernel-modules/lib/modules/{versions[0]}"
        tree = self._found(relative, "the system has no kernel modules")
        if tree.file("modules.dep") is None:
            raise UnbootableError(
                f"{self.path}/{relative} has no modules.dep: {tree.fault('modules.dep')}", _MODULES
            )
        return StoreTree(tree.store, tree.place, versions[0])

    def modprobe(self) -> Iterator[str]:
        """Yield the texts of etc/modprobe.d/*.conf (nixos/modules/system/boot/modprobe.nix)."""
        place = self.place("etc/modprobe.d")
        names = [child.name for child in place.iterdir()] if place and place.is_dir() else []
        for name in sorted(names):
            if name.endswith(".conf"):
                yield self.text(f"etc/modprobe.d/{name}")

    def firmware(self, version: str) -> Iterator[StoreTree]:
        """Yield the directories that have firmware, in the order in which the kernel looks into
        them (Linux, drivers/base/firmware_loader/main.c, fw_path).

        `hardware.firmware` becomes one of its own; a kernel package may bring some as well.
        """
        for base in ("firmware", "kernel-modules/lib/firmware"):
            for below in (f"/updates/{version}", "/updates", f"/{version}", ""):
                found = self.store.trace(self.path, base + below).place
                if found is not None and found.is_dir():
                    yield StoreTree(self.store, found, found.name)

    def _found(self, relative: str, otherwise: str) -> StoreTree:
        """Return a directory that must be there, with every link on the way followed."""
        found = self.store.trace(self.path, relative)
        if found.place is None or not found.place.is_dir():
            fault = found.fault or "is no directory"
            said = f"{self.path}/{relative} {fault}"
            raise UnbootableError(f"{otherwise}: {said}" if found.missing else said, _MODULES)
        return StoreTree(self.store, found.place, found.place.name)


def _is_foreign(line: str) -> bool:
    return any("\udc80" <= letter <= "\udcff" for letter in line)


def _shown(line: str) -> str:
    """Return a line with its foreign bytes as `\\xNN`."""
    return line.encode(errors="surrogateescape").decode(errors="backslashreplace")[:80]


def _kind(value: object) -> str:
    return {list: "a list", dict: "an object", str: "a text", type(None): "null"}.get(
        type(value), "a number"
    )


def traced_specialisations(store: Store, toplevel: StorePath) -> dict[str, StorePath | str]:
    """Return what each name in a toplevel's `specialisation` leads to: a system, or why not."""
    place = store.follow(toplevel, "specialisation")
    if place is None or not place.is_dir():
        return {}
    found: dict[str, StorePath | str] = {}
    for name in sorted(child.name for child in place.iterdir()):
        traced = store.trace_from(place, name)
        if traced.place is None:
            found[name] = traced.fault
        else:
            found[name] = store.path_at(traced.place) or "is no link to the top of a store path"
    return found
