"""The file systems that a system wants to mount (fstab(5)), as a diskless machine sees them."""

from __future__ import annotations

from dataclasses import dataclass

# What a storeboot initrd mounts in their place, whatever the system says.
PROVIDED = frozenset({"/", "/nix", "/nix/store", "/nix/.ro-store", "/nix/.rw-store"})
# Their devices are names of pools or lists of disks.
_POOLS = frozenset({"zfs", "bcachefs"})
# Directories of the machine that emulates this one.
_SHARED = frozenset({"virtiofs", "vboxsf", "prl_fs", "fuse.prl_fsd", "fuse.vmhgfs-fuse"})
_TAGS = ("UUID=", "LABEL=", "PARTUUID=", "PARTLABEL=", "ID=")
_PLAIN = frozenset("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789:_.")


@dataclass(frozen=True, slots=True)
class FstabEntry:
    """One line of fstab."""

    device: str
    mount_point: str
    fs_type: str
    options: tuple[str, ...]

    @property
    def on_local_disk(self) -> bool:
        """Return whether its device is a local disk's, or a volume on local disks."""
        if self.fs_type in _POOLS:
            return True
        return self.device.startswith(("/dev/", *_TAGS)) and not self.is_bind

    @property
    def is_bind(self) -> bool:
        """Return whether it is a directory or file of another file system (mount(8))."""
        return not {"bind", "rbind"}.isdisjoint(self.options)

    @property
    def from_hypervisor(self) -> bool:
        """Return whether it is a directory that a hypervisor shares; 9p has network transports."""
        if self.fs_type == "9p":
            return not {"trans=tcp", "trans=rdma"} & set(self.options)
        return self.fs_type in _SHARED

    @property
    def is_swap(self) -> bool:
        return self.fs_type == "swap"

    @property
    def needed_for_boot(self) -> bool:
        """Return `neededForBoot`, which NixOS writes as this option (tasks/filesystems.nix)."""
        return "x-initrd.mount" in self.options

    @property
    def unit_name(self) -> str:
        if self.is_swap:
            return escape_path(self.device) + ".swap"
        return escape_path(self.mount_point) + ".mount"


def parse_fstab(text: str) -> tuple[FstabEntry, ...]:
    entries = []
    for line in text.splitlines():
        fields = line.split()
        if len(fields) < 3 or fields[0].startswith("#"):
            continue
        device, mount_point, fs_type = (_unescape(field) for field in fields[:3])
        options = tuple(fields[3].split(",")) if len(fields) > 3 else ()
        entries.append(FstabEntry(device, mount_point, fs_type, options))
    return tuple(entries)


def is_below(path: str, directory: str) -> bool:
    """Return whether a path is a directory or lies in it."""
    return path == directory or path.startswith(directory.rstrip("/") + "/")


def _unescape(field: str) -> str:
    """Decode a field: fstab writes space, tab and backslash in octal."""
    for code, letter in (("\\040", " "), ("\\011", "\t"), ("\\134", "\\")):
        field = field.replace(code, letter)
    return field


def escape_path(path: str) -> str:
    """Return a path as a unit name, as `systemd-escape --path` does (systemd.unit(5))."""
    for tag in _TAGS:
        if path.startswith(tag):
            path = f"/dev/disk/by-{tag[:-1].lower()}/{path[len(tag) :]}"
    trimmed = "/".join(part for part in path.split("/") if part)
    if not trimmed:
        return "-"
    return "".join(_escape_byte(byte, first=not at) for at, byte in enumerate(trimmed.encode()))


def _escape_byte(byte: int, *, first: bool) -> str:
    letter = chr(byte)
    if letter == "/":
        return "-"
    if letter not in _PLAIN or (first and letter == "."):
        return f"\\x{byte:02x}"
    return letter
