"""An initrd with Debian's systemd, after the contract of NixOS' systemd stage 1.

Its file systems are a sysroot fstab (SYSTEMD_SYSROOT_FSTAB), its network is networkd's, and what
NixOS adds to systemd's own units is in stage1_systemd.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from e2e import elf
from e2e.native_initrd import HERE, busybox_members, in_order, module_members, write
from storeboot.initrd import cpio
from storeboot.vm.demo.build import DemoSystem
from storeboot.vm.demo.unpack import Tree

OWN = HERE / "stage1_systemd"
PROGRAMS = (
    "usr/lib/systemd/systemd", "usr/lib/systemd/systemd-executor",
    "usr/lib/systemd/systemd-networkd", "usr/lib/systemd/systemd-networkd-wait-online",
    "usr/lib/systemd/systemd-journald", "usr/lib/systemd/systemd-sysroot-fstab-check",
    "usr/lib/systemd/systemd-shutdown", "usr/lib/systemd/systemd-udevd",
    "usr/lib/systemd/system-generators/systemd-fstab-generator", "usr/bin/systemctl",
    "usr/bin/udevadm", "usr/bin/mount", "usr/bin/umount",
)  # fmt: skip
# What programs load when they want it.
LOADED = ("libkmod.so.2", "libmount.so.1", "libblkid.so.1", "libseccomp.so.2", "libacl.so.1")
# Of nixpkgs' `upstreamUnits` those that a boot without faults passes.
UNITS = (
    "basic.target", "emergency.service", "emergency.target", "final.target",
    "initrd-cleanup.service", "initrd-fs.target", "initrd-parse-etc.service",
    "initrd-root-device.target", "initrd-root-fs.target", "initrd-switch-root.service",
    "initrd-switch-root.target", "initrd-udevadm-cleanup-db.service", "initrd.target",
    "local-fs-pre.target", "local-fs.target", "network-online.target", "network-pre.target",
    "network.target", "paths.target", "poweroff.target", "reboot.target", "remote-fs-pre.target",
    "remote-fs.target", "shutdown.target", "slices.target", "sockets.target", "swap.target",
    "sysinit.target", "syslog.socket", "systemd-journald-dev-log.socket",
    "systemd-journald.service", "systemd-journald.socket", "systemd-networkd-wait-online.service",
    "systemd-networkd.service", "systemd-networkd.socket", "systemd-reboot.service",
    "systemd-udev-trigger.service", "systemd-udevd-control.socket", "systemd-udevd-kernel.socket",
    "systemd-udevd.service", "timers.target", "umount.target",
)  # fmt: skip
WANTS = {
    "sysinit.target": (
        "load-modules.service", "systemd-journald.service", "systemd-udevd.service",
        "systemd-udev-trigger.service",
    ),
    "sockets.target": (
        "systemd-journald-dev-log.socket", "systemd-journald.socket",
        "systemd-udevd-control.socket", "systemd-udevd-kernel.socket",
    ),
    "initrd.target": (
        "systemd-networkd.service", "initrd-find-nixos-closure.service",
        "initrd-nixos-activation.service",
    ),
    "network-online.target": ("systemd-networkd-wait-online.service",),
    "sysroot-nix-store.mount": ("rw-sysroot-nix-store.service",),
}  # fmt: skip
PASSWD = "root:x:0:0::/root:/bin/sh\nsystemd-network:x:998:998::/:/bin/false\n"
GROUP = "root:x:0:\ntty:x:5:\ndisk:x:6:\nkmem:x:15:\ninput:x:104:\nsystemd-network:x:998:\n"
LIBRARIES = "usr/lib/x86_64-linux-gnu"
RULES = ("50-udev-default.rules", "75-net-description.rules", "80-net-setup-link.rules")


def fstab(file_systems: Mapping[str, Any], root: str = "") -> str:
    """As filesystems.nix and overlayfs.nix write it for a systemd stage 1, below `root`.

    The generator puts /sysroot before mount points by itself, not before what options name.
    """
    lines = []
    for point, device, kind, options in in_order(file_systems):
        said = [*options, "x-initrd.mount"]
        if kind == "overlay":
            layers = [word.partition("=")[2] for word in options if "dir=" in word]
            said = [word.replace("dir=/", f"dir={root}/") for word in said]
            said += [f"x-systemd.requires-mounts-for={root}{each}" for each in layers]
        lines.append(f"{device} {point} {kind} {','.join(said)} 0 0\n")
    return "".join(lines)


def network(evaluated: Mapping[str, Any]) -> str:
    """A networkd unit of an evaluated network."""
    parts = {"Match": "matchConfig", "Network": "networkConfig", "DHCPv4": "dhcpV4Config"}
    return "".join(
        f"[{title}]\n" + "".join(f"{name}={value}\n" for name, value in evaluated[key].items())
        for title, key in parts.items()
    )


def make(
    built: DemoSystem, packages: list[Path], directory: Path, found: Mapping[str, Any]
) -> Tree:
    """`found` is what the client module was evaluated to."""
    units = {name: _file(packages, f"usr/lib/systemd/system/{name}") for name in UNITS}
    texts = {
        **{f"usr/lib/systemd/system/{name}": file.read_bytes() for name, file in units.items()},
        **{f"etc/systemd/system/{file.name}": file.read_bytes()
           for file in sorted((OWN / "units").iterdir())},
        "etc/find-nixos-closure": (OWN / "find-nixos-closure").read_bytes(),
        "etc/initrd-fstab": fstab(found["fileSystems"], "/sysroot").encode(),
        "etc/initrd-release": b"ID=stand-in\n",
        "etc/os-release": b"ID=stand-in\n",
        "etc/machine-id": b"",
        "etc/passwd": PASSWD.encode(),
        "etc/group": GROUP.encode(),
        "etc/nsswitch.conf": b"passwd: files\ngroup: files\n",
        "etc/systemd/system.conf": b"[Manager]\nDefaultEnvironment=PATH=/bin\n"
        b"ManagerEnvironment=SYSTEMD_SYSROOT_FSTAB=/etc/initrd-fstab PATH=/bin\n"
        b"DefaultTimeoutStartSec=300\n",
        **{f"usr/lib/udev/rules.d/{name}":
           _file(packages, f"usr/lib/udev/rules.d/{name}").read_bytes() for name in RULES},
        **{f"etc/systemd/network/{name}.network": network(each).encode()
           for name, each in found["initrd"]["networks"].items()},
    }  # fmt: skip
    programs = {name: _file(packages, name) for name in PROGRAMS}
    known = elf.libraries(packages)
    loaded = [known[name] for name in LOADED if name in known]
    needed = elf.closure([*programs.values(), *loaded], known)
    needed |= {name: known[name] for name in LOADED if name in known}
    members = [
        *(cpio.regular(name, data) for name, data in texts.items()),
        *(cpio.regular(name, file.read_bytes(), 0o755) for name, file in programs.items()),
        *(cpio.regular(f"{LIBRARIES}/{name}", file.read_bytes(), 0o755)
          for name, file in needed.items()),
        *(cpio.symlink(f"etc/systemd/system/{target}.wants/{name}",
                       f"/{_place(name)}/{name}")
          for target, names in WANTS.items() for name in names),
        cpio.symlink("init", "usr/lib/systemd/systemd"),
        cpio.symlink("etc/systemd/system/default.target", "/usr/lib/systemd/system/initrd.target"),
        cpio.symlink("lib64", LIBRARIES),  # where programs look for ld-linux-x86-64.so.2
        cpio.symlink("sbin/modprobe", "/bin/busybox"),
        *(cpio.symlink(f"bin/{name}", "busybox") for name in ("cat", "mkdir")),
        *busybox_members(),
        *module_members(built),
        *(cpio.directory(name) for name in ("proc", "sys", "dev", "run", "sysroot", "tmp", "var")),
    ]  # fmt: skip
    return write(directory / "initrd-systemd", members)


def _place(unit: str) -> str:
    own = (OWN / "units" / unit).exists()
    return "etc/systemd/system" if own else "usr/lib/systemd/system"


def _file(packages: list[Path], name: str) -> Path:
    return next((package / name).resolve() for package in packages if (package / name).exists())
