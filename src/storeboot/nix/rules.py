"""Rules about systems: what does not work on a diskless machine, or works differently."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator

from storeboot.findings import Finding, Level
from storeboot.nix.fstab import FstabEntry
from storeboot.nix.toplevel import NIXOS_INIT_V1, Toplevel, traced_specialisations
from storeboot.protocol import ipxe
from storeboot.protocol.parameters import RESERVED

_REBUILD = "change the system's configuration and build it again"
_TIMERS = "etc/systemd/system/timers.target.wants"
_INSTALLER = re.compile(r"INSTALL_BOOTLOADER\W{1,4}/nix/store/[0-9a-z]{32}-([^'\"\s/]+)")
# What the name of an installing script has, and the option that makes it (nixos/modules/system/boot
# /loader). Where there is no boot loader, it is `true` of coreutils.
_LOADERS = (
    ("grub", "boot.loader.grub.enable"),
    ("systemd-boot", "boot.loader.systemd-boot.enable"),
    ("extlinux", "boot.loader.generic-extlinux-compatible.enable"),
    ("limine", "boot.loader.limine.enable"),
    ("refind", "boot.loader.refind.enable"),
    ("lanzaboote", "boot.lanzaboote.enable"),
    ("lzbt", "boot.lanzaboote.enable"),
)


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
    wanted = toplevel.place(f"{_TIMERS}/nix-optimise.timer")
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


def client_auto_optimise(toplevel: Toplevel) -> Iterator[Finding]:
    """`nix.settings.auto-optimise-store` (nixos/modules/config/nix.nix), in nix.conf(5).

    Nix then hashes every file that it adds to its store, and links it into /nix/store/.links (Nix,
    src/libstore/optimise-store.cc). On a diskless machine that directory is in memory and knows
    nothing of the server's files, so nothing is shared that the closure has.
    """
    words = _nix_settings(toplevel.text("etc/nix/nix.conf")).get("auto-optimise-store", "")
    if words in ("true", "yes", "1"):
        yield Finding(
            "client-auto-optimise", Level.WARNING, "nix.settings.auto-optimise-store",
            "Nix on the machine links what it adds into /nix/store/.links, which takes the "
            "machine's memory and shares nothing with the server",
            "set nix.settings.auto-optimise-store = false and build the system again",
        )  # fmt: skip


def client_gc_timer(toplevel: Toplevel) -> Iterator[Finding]:
    """`nix.gc.automatic` (nixos/modules/services/misc/nix-gc.nix).

    nix-collect-garbage deletes everything that is not valid in the machine's database, or not
    rooted (Nix, src/libstore/gc.cc). If the server could not build the database of the closure,
    the machine does it once it is up; until then nothing of the running system is valid.
    """
    if toplevel.place(f"{_TIMERS}/nix-gc.timer") is not None:
        yield Finding(
            "client-gc-timer", Level.WARNING, "nix.gc.automatic",
            "nix-gc.timer hides the running system from itself if Nix on the machine does not know "
            "the server's paths yet, and frees nothing that the next boot would not free",
            "set nix.gc.automatic = false and build the system again; `storeboot gc` and Nix on "
            "the server collect garbage",
        )  # fmt: skip


def boot_loader(toplevel: Toplevel) -> Iterator[Finding]:
    """`system.build.installBootLoader`, as INSTALL_BOOTLOADER in bin/switch-to-configuration
    (nixos/modules/system/activation/switchable-system.nix).

    `nixos-rebuild switch` and `boot` run it on the machine, where it fails for want of a disk, or
    writes to a disk from which the machine does not boot.
    """
    script = toplevel.text("bin/switch-to-configuration")
    for name in re.findall(
        r"INSTALL_BOOTLOADER\W{1,4}/nix/store/[0-9a-z]{32}-([^'\"\s/]+)", script
    ):
        option = next((option for word, option in _LOADERS if word in name), None)
        if option is not None:
            yield Finding(
                "boot-loader", Level.WARNING, option,
                f"nixos-rebuild on the machine would run {name}, which needs a disk to boot from",
                f"set {option} = false and build the system again",
            )  # fmt: skip
            return


def specialisation_broken(toplevel: Toplevel) -> Iterator[Finding]:
    """`specialisation.<name>` is a link to a toplevel of its own
    (nixos/modules/system/activation/specialisation.nix); whatever makes it something else, menus
    and hosts do without it."""
    for name, found in traced_specialisations(toplevel.store, toplevel.path).items():
        if isinstance(found, str):
            yield Finding(
                "specialisation-broken", Level.WARNING, f"specialisation.{name}",
                f"its link {found}, so it cannot be booted", "build or copy the whole system again",
            )  # fmt: skip


def _nix_settings(text: str) -> dict[str, str]:
    """Return the settings of a nix.conf; the last line of a name counts (nix.conf(5))."""
    lines = (line.partition("#")[0].partition("=") for line in text.splitlines())
    return {name.strip(): value.strip() for name, equals, value in lines if equals}


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
    client_auto_optimise,
    client_gc_timer,
    boot_loader,
    specialisation_broken,
)
