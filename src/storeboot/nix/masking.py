"""Which file systems of an fstab a diskless machine cannot have, and why.

A file system that is on a local disk is masked, and so is each that is made of what is on a masked
one: an overlay of its directories, an image in it, a part of it at another place. systemd would
wait for those, fail, and start the emergency mode (systemd.special(7), local-fs.target).
"""

from __future__ import annotations

import posixpath
import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from fnmatch import fnmatchcase

from storeboot.nix.fstab import PROVIDED, FstabEntry, escape_path, is_below

NO_DISK = "there is no local disk"
NO_HYPERVISOR = "there is no hypervisor that shares it"
# Options of overlayfs (Linux, filesystems/overlayfs.rst), fuse-overlayfs and aufs that name layers.
_LAYERS = re.compile(r"(?:lowerdir|lowerdir\+|datadir\+|upperdir|workdir|br|dirs)[=:](.*)")
_REQUIRES = ("x-systemd.requires-mounts-for=", "x-systemd.requires=")
# With systemd's stage 1 NixOS writes where they are before the root is switched (overlayfs.nix).
_STAGE1_ROOT = "/sysroot"
_PATTERN = re.compile(r"[*?\[]")  # as mergerfs expands it
_COLON = re.compile(r"(?<!\\):+")
_FUSE = ("fuse", "mergerfs", "bindfs", "unionfs")
_CRYPTSETUP = "systemd-cryptsetup@"


@dataclass(frozen=True, slots=True)
class Masked:
    """An entry that this machine cannot have."""

    entry: FstabEntry
    reason: str


def masked(entries: Iterable[FstabEntry]) -> tuple[Masked, ...]:
    """Return the entries that a machine without disks cannot have, in the order of the file.

    Swap files too: a swap file in a tmpfs would take the memory that it is to spare.
    """
    entries = tuple(entries)
    found: dict[int, str] = {}
    for at, entry in enumerate(entries):
        if entry.is_swap or (entry.on_local_disk and entry.mount_point not in PROVIDED):
            found[at] = NO_DISK
        elif entry.from_hypervisor and entry.mount_point not in PROVIDED:
            found[at] = NO_HYPERVISOR
    while more := {
        at: reason
        for at, entry in enumerate(entries)
        if at not in found
        and entry.mount_point not in PROVIDED
        and (reason := _needs_masked(entry, entries, found))
    }:
        found.update(more)
    return tuple(Masked(entries[at], found[at]) for at in sorted(found))


def _needs_masked(entry: FstabEntry, entries: tuple[FstabEntry, ...], found: dict[int, str]) -> str:
    """Return why an entry cannot be mounted without the masked ones in `found`, or ""."""
    lost = [entries[at] for at in found]
    for needed in _required_units(entry):
        if needed.endswith(".device") or needed.startswith(_CRYPTSETUP):
            return f"it requires {needed}, and {NO_DISK}"
        if any(needed == each.unit_name for each in lost):
            return f"it requires {needed}, and that is masked"
    for path in paths(entry):
        for other in _holders(path, entry, entries):
            if other in lost:
                return f"it needs {path}, and {other.mount_point} is masked"
    return ""


def _holders(path: str, entry: FstabEntry, entries: tuple[FstabEntry, ...]) -> Iterator[FstabEntry]:
    """Yield the entries on which a path lies: one, or for a pattern perhaps several."""
    others = [each for each in entries if each is not entry and each.mount_point.startswith("/")]
    if _PATTERN.search(path):
        parts = path.split("/")
        for each in others:
            names = each.mount_point.split("/")
            if 1 < len(names) <= len(parts) and all(map(fnmatchcase, names, parts)):
                yield each
        path = posixpath.dirname(_PATTERN.split(path, maxsplit=1)[0] + "x")
    around = [each for each in others if is_below(path, each.mount_point)]
    if around:
        yield max(around, key=lambda each: len(each.mount_point))


def _required_units(entry: FstabEntry) -> Iterator[str]:
    """Yield what it requires by name (systemd.mount(5), x-systemd.requires)."""
    for option in entry.options:
        value = option.removeprefix("x-systemd.requires=")
        if value == option:
            continue
        if value.startswith("/dev/"):
            yield escape_path(value) + ".device"
        elif not value.startswith("/"):
            yield value


def paths(entry: FstabEntry) -> Iterator[str]:
    """Yield the paths without which an entry cannot be mounted, absolute and without `..`."""
    for path in _named(entry):
        plain = posixpath.normpath(path)
        if is_below(plain, _STAGE1_ROOT):
            plain = plain.removeprefix(_STAGE1_ROOT) or "/"
        yield plain


def _named(entry: FstabEntry) -> Iterator[str]:
    for option in entry.options:
        layers = _LAYERS.fullmatch(option)
        if layers is not None:
            yield from _several(layers[1])
        for name in _REQUIRES:
            if option.startswith(name + "/"):
                yield option.removeprefix(name)
    yield from _sources(entry)


def _sources(entry: FstabEntry) -> Iterator[str]:
    """Yield paths in the device: a directory, an image in a file, or branches of a FUSE file
    system.

    `PROGRAM#SOURCE` is how mount.fuse(8) takes a program without a type of its own.
    """
    source = entry.device
    if entry.fs_type.startswith(_FUSE):
        source = source.partition("#")[2] or source
        # Else it is a host's, as of sshfs.
        if source.startswith("/"):
            yield from _several(source)
    elif source.startswith("/"):
        yield source


def _several(text: str) -> Iterator[str]:
    """Yield the paths of a list with `:` between, which may have modes as `=RW` behind them."""
    for part in _COLON.split(text.replace('"', "")):
        path = part.replace("\\:", ":").partition("=")[0]
        if path.startswith("/"):
            yield path
