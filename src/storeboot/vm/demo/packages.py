"""The Debian packages of the demo system."""

from __future__ import annotations

from typing import Literal

Suite = Literal["trixie", "bookworm"]
KERNEL = "linux-image-cloud-amd64"
Machine = Literal["x86_64", "aarch64"]
ARCHITECTURES: dict[Machine, str] = {"x86_64": "amd64", "aarch64": "arm64"}
BUSYBOX = "busybox-static"
PACKAGES = (
    "base-files", "bash", "ca-certificates", "coreutils", "curl", "dash", "debianutils",
    "diffutils", "findutils", "grep", "gzip", "hostname", "init-system-helpers", "iputils-ping",
    "less", "libc-bin", "login", "mawk", "mount", "ncurses-base", "ncurses-bin", "netbase",
    "psmisc", "sed", "tar", "util-linux", "util-linux-extra", "xz-utils", "zstd",
    "dbus", "dbus-daemon", "dhcpcd-base", "iproute2", "kexec-tools", "kmod", "libnss-systemd",
    "libpam-modules",
    "libpam-modules-bin", "libpam-runtime", "libpam-systemd", "network-manager", "nix-bin",
    "openssh-client", "openssh-server", "passwd", "procps", "systemd", "systemd-sysv", "udev",
    KERNEL, BUSYBOX,
)  # fmt: skip
# Of a micro system for a processor whose programs do not run here.
FOREIGN = {"aarch64": ("linux-image-cloud-arm64", BUSYBOX)}
