"""Which kernel modules an initrd needs, out of a system's own `kernel-modules`."""

from __future__ import annotations

import lzma
import re
import zlib
from dataclasses import dataclass, field
from pathlib import Path

import zstandard

from storeboot.errors import UnbootableError

# What the boot itself needs; each is looked for among modules and built-ins.
REQUIRED = ("nfs", "nfsv3", "nfsv4", "overlay")
# Good to have: squashfs and loop for packs, af_packet for DHCP, the rest for odd kernels.
OPTIONAL = ("af_packet", "squashfs", "loop", "erofs", "virtio_pci", "virtio_mmio")
# Wired Ethernet, by directory below kernel/; and the buses that such cards hang on.
_WIRED = (
    "kernel/drivers/net/ethernet/",
    "kernel/drivers/net/phy/",
    "kernel/drivers/net/mdio/",
    "kernel/drivers/net/usb/",
    "kernel/drivers/net/hyperv/",
)
# Local disks and the file systems on them.
_DISKS = (
    "kernel/drivers/ata/",
    "kernel/drivers/nvme/host/",
    "kernel/drivers/mmc/",
    "kernel/drivers/usb/storage/",
    "kernel/drivers/usb/host/",
)
_DISK_SINGLE = frozenset(
    {"sd_mod", "virtio_blk", "virtio_scsi", "xen_blkfront", "hv_storvsc", "uas", "megaraid_sas",
     "mpt3sas", "vmd", "ext4", "xfs", "btrfs", "f2fs",
     # What the file systems ask the kernel's crypto for by name.
     "crc32c_generic", "crc32c_intel", "crc32_generic", "crc32_pclmul", "libcrc32c",
     "xxhash_generic", "blake2b_generic", "sha256_generic"}
)  # fmt: skip
# How zram compresses, where that is not built in.
_ZRAM = frozenset({"lzo", "lzo_rle", "zstd", "lz4"})
_OPTIONS = {"overlay": "OVERLAY_FS", "zram": "ZRAM"}
_WIRED_SINGLE = frozenset({"virtio_net", "vmxnet3", "xen-netfront", "ena"})


@dataclass(frozen=True, slots=True)
class ModuleTree:
    """`lib/modules/<version>` as depmod described it."""

    directory: Path
    dependencies: dict[str, tuple[str, ...]]  # file -> files, relative to the directory
    by_name: dict[str, str]
    built_in: frozenset[str]
    aliases: tuple[tuple[str, str], ...] = field(default=())  # pattern, module name
    soft: dict[str, tuple[str, ...]] = field(default_factory=dict)


def module_name(file: str) -> str:
    """The kernel's name of a module file: `a/b-c.ko.xz` is b_c."""
    return file.rpartition("/")[2].partition(".ko")[0].replace("-", "_")


def read_tree(directory: Path) -> ModuleTree:
    dependencies: dict[str, tuple[str, ...]] = {}
    for line in _lines(directory / "modules.dep"):
        file, _, needs = line.partition(":")
        dependencies[file] = tuple(needs.split())
    aliases = []
    for line in _lines(directory / "modules.alias"):
        words = line.split()
        if len(words) == 3 and words[0] == "alias":
            aliases.append((words[1], words[2]))
    soft: dict[str, tuple[str, ...]] = {}
    for line in _lines(directory / "modules.softdep"):
        words = line.split()
        if len(words) > 2 and words[0] == "softdep":
            soft[words[1]] = tuple(word for word in words[2:] if not word.endswith(":"))
    return ModuleTree(
        directory=directory,
        dependencies=dependencies,
        by_name={module_name(file): file for file in dependencies},
        built_in=frozenset(module_name(line) for line in _lines(directory / "modules.builtin")),
        aliases=tuple(aliases),
        soft=soft,
    )


def _lines(path: Path) -> list[str]:
    if not path.is_file():
        return []
    return [line for line in path.read_text().splitlines() if line and line[0] != "#"]


@dataclass(frozen=True, slots=True)
class Needs:
    """What a host's initrd has besides what every one has."""

    drivers: tuple[str, ...] = ()  # network drivers to take; empty takes every wired one
    disk: bool = False  # local disks and their file systems
    zram: bool = False


def needed(tree: ModuleTree, needs: Needs, system: str) -> tuple[str, ...]:
    """Files of the modules that the boot needs, dependencies included, sorted."""
    wanted = []
    for name in (*REQUIRED, *(["zram"] if needs.zram else [])):
        if name in tree.built_in:
            continue
        if name not in tree.by_name:
            raise UnbootableError(
                f"the kernel of {system} has no module {name}",
                f"build it with a kernel that has {name} (Linux option "
                f"{_OPTIONS.get(name, 'NFS_FS, NFS_V3 and NFS_V4')})",
            )
        wanted.append(tree.by_name[name])
    wanted += [tree.by_name[name] for name in OPTIONAL if name in tree.by_name]
    wanted += _drivers(tree, needs.drivers, system)
    if needs.zram:
        wanted += [tree.by_name[name] for name in _ZRAM if name in tree.by_name]
    if needs.disk:
        wanted += [file for file in tree.dependencies if _is_for_disks(file)]
    return tuple(sorted(_closed(tree, wanted)))


def _is_for_disks(file: str) -> bool:
    return file.startswith(_DISKS) or module_name(file) in _DISK_SINGLE


def _drivers(tree: ModuleTree, drivers: tuple[str, ...], system: str) -> list[str]:
    if not drivers:
        return [
            file
            for file in tree.dependencies
            if file.startswith(_WIRED) or module_name(file) in _WIRED_SINGLE
        ]
    files = []
    for driver in drivers:
        name = driver.replace("-", "_")
        if name in tree.by_name:
            files.append(tree.by_name[name])
        elif name not in tree.built_in:
            raise UnbootableError(
                f"the kernel of {system} has no network driver {driver}",
                "correct initrd.drivers in the configuration, or leave it out to include all "
                "drivers",
            )
    return files


def _closed(tree: ModuleTree, files: list[str]) -> set[str]:
    """The files, and all that they depend on, hard or soft."""
    done: set[str] = set()
    pending = list(files)
    while pending:
        file = pending.pop()
        if file in done:
            continue
        done.add(file)
        pending += tree.dependencies.get(file, ())
        for soft in tree.soft.get(module_name(file), ()):
            pending += [tree.by_name[name] for name in _named(tree, soft) if name in tree.by_name]
    return done


def _named(tree: ModuleTree, word: str) -> list[str]:
    """Names of the modules that are meant by a name, or an alias such as `crypto-crc32c`."""
    return [word.replace("-", "_"), *(name for alias, name in tree.aliases if alias == word)]


def load(path: Path) -> bytes:
    """A module's ELF file; busybox loads no compressed ones."""
    data = path.read_bytes()
    match path.suffix:
        case ".xz":
            return lzma.decompress(data)
        case ".zst":
            return zstandard.ZstdDecompressor().decompressobj().decompress(data)
        case ".gz":
            return zlib.decompress(data, wbits=31)
        case _:
            return data


def plain(file: str) -> str:
    """The name of a module file once it is decompressed."""
    return re.sub(r"\.ko\.(xz|zst|gz)$", ".ko", file)


def firmware_of(module: bytes) -> tuple[str, ...]:
    """Firmware files that a module names in its .modinfo section (MODULE_FIRMWARE)."""
    found = re.findall(rb"\0firmware=([!-~]+)(?=\0)", module)
    return tuple(sorted({name.decode() for name in found}))


def index_files(tree: ModuleTree, files: tuple[str, ...]) -> dict[str, str]:
    """modules.dep and modules.alias of a subset, for busybox's modprobe."""
    names = {module_name(file) for file in files}
    dep = [
        " ".join((plain(file) + ":", *(plain(need) for need in tree.dependencies.get(file, ()))))
        for file in files
    ]
    alias = [f"alias {pattern} {name}" for pattern, name in tree.aliases if name in names]
    return {
        "modules.dep": "".join(line + "\n" for line in dep),
        "modules.alias": "".join(line + "\n" for line in alias),
        "modules.symbols": "",
    }
