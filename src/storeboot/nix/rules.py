"""Rules about systems: what does not work on a diskless machine, or works differently."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator

from storeboot.findings import Finding, Level
from storeboot.nix.fstab import FstabEntry
from storeboot.nix.toplevel import NIXOS_INIT_V1, Toplevel
from storeboot.protocol import ipxe
from storeboot.protocol.parameters import RESERVED

_REBUILD = "change the system's configuration and build it again"


def disk_needed(toplevel: Toplevel) -> Iterator[Finding]:
    """`fileSystems.<name>.neededForBoot` (nixos/modules/tasks/filesystems.nix)."""
    for each in toplevel.masked:
        if each.entry.needed_for_boot:
            yield Finding(
                "disk-needed", Level.ERROR, _option(each.entry),
                f"neededForBoot, but {each.reason}", _REBUILD,
            )  # fmt: skip


def disk_masked(toplevel: Toplevel) -> Iterator[Finding]:
    """`fileSystems` and `swapDevices`: the initrd has units in place of those made from fstab."""
    for each in toplevel.masked:
        if not each.entry.needed_for_boot:
            yield Finding("disk-masked", Level.NOTE, _option(each.entry), each.reason)


def nixos_init(toplevel: Toplevel) -> Iterator[Finding]:
    """`system.nixos-init.enable` writes a section of its own into boot.json."""
    if NIXOS_INIT_V1 in toplevel.bootspec:
        yield Finding(
            "nixos-init", Level.ERROR, "system.nixos-init.enable",
            "its init needs the work of its own initrd, which storeboot's initrd cannot do",
            _REBUILD,
        )  # fmt: skip


def luks(toplevel: Toplevel) -> Iterator[Finding]:
    """crypttab(5), of `boot.initrd.luks.devices` and of `environment.etc`."""
    lines = toplevel.text("etc/crypttab").splitlines()
    if any(line.strip() and not line.lstrip().startswith("#") for line in lines):
        yield Finding(
            "luks", Level.ERROR, "etc/crypttab", "LUKS devices need a local disk", _REBUILD
        )


def initrd_secrets(toplevel: Toplevel) -> Iterator[Finding]:
    """`boot.initrd.secrets` (nixos/modules/system/boot/stage-1.nix).

    Older nixpkgs always write the appending script; only one that copies something counts.
    """
    script = toplevel.text("append-initrd-secrets")
    if re.search(r"^\s*cp -a ", script, re.MULTILINE) or (
        "initrdSecrets" in toplevel.bootspec and not script
    ):
        yield Finding(
            "initrd-secrets", Level.ERROR, "boot.initrd.secrets",
            "anyone on the network could fetch the secrets", _REBUILD,
        )  # fmt: skip


def etc_overlay(toplevel: Toplevel) -> Iterator[Finding]:
    """`system.etc.overlay.enable` (nixos/modules/system/etc/etc.nix)."""
    if toplevel.place("etc-metadata-image") is not None:
        yield Finding(
            "etc-overlay", Level.NOTE, "system.etc.overlay", "mounted before stage 2 starts"
        )


def client_optimise_timer(toplevel: Toplevel) -> Iterator[Finding]:
    """`nix.optimise.automatic` (nixos/modules/services/misc/nix-optimise.nix).

    The timer runs `nix-store --optimise`, which hashes every file of every valid path and links it
    into /nix/store/.links (Nix, src/libstore/optimise-store.cc). Overlayfs copies up what is linked
    (Linux, fs/overlayfs/dir.c, ovl_link), and the machine's Nix knows its whole closure as valid.
    A local-overlay store reads only its upper layer (local-overlay-store.cc).
    """
    wanted = toplevel.place("etc/systemd/system/timers.target.wants/nix-optimise.timer")
    settings = toplevel.text("etc/nix/nix.conf")
    if wanted is None or re.search(r"^\s*store\s*=\s*local-overlay:", settings, re.MULTILINE):
        return
    yield Finding(
        "client-optimise-timer", Level.WARNING, "nix.optimise.automatic",
        "nix-optimise.timer copies the whole closure from the server into the machine's overlay",
        "set nix.optimise.automatic = false and build the system again",
    )  # fmt: skip


def kernel_param(toplevel: Toplevel) -> Iterator[Finding]:
    """`boot.kernelParams` (nixos/modules/system/boot/kernel.nix), which bootspec.nix copies.

    iPXE would replace what looks like one of its settings (src/core/settings.c, expand_settings),
    and a line break would end the script's line (src/image/script.c). Linux takes the last `init=`
    (init/main.c, init_setup), so one of the system's would start something else than stage 2.
    """
    for param in toplevel.kernel_params:
        reason = ipxe.fault(param)
        if param.startswith(RESERVED):
            reason = "is a parameter that storeboot alone sets"
        if reason is not None:
            yield Finding(
                "kernel-param", Level.ERROR, f"boot.kernelParams {json.dumps(param)}", reason,
                "remove it from boot.kernelParams and build the system again",
            )  # fmt: skip


def _option(entry: FstabEntry) -> str:
    if entry.is_swap:
        return f"swapDevices {entry.device}"
    return f"fileSystems.{json.dumps(entry.mount_point)} on {entry.device}"


RULES = (
    disk_needed,
    disk_masked,
    nixos_init,
    luks,
    initrd_secrets,
    etc_overlay,
    client_optimise_timer,
    kernel_param,
)
