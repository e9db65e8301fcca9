"""Finds out which modules of a system's `kernel-modules` its initrd needs."""

from __future__ import annotations

from dataclasses import dataclass

from storeboot.errors import UnbootableError
from storeboot.initrd import elf
from storeboot.initrd.hardware import Hardware
from storeboot.initrd.modprobe import Modprobe
from storeboot.initrd.module_tree import ModuleTree, canonical, module_name, plain

# Needed by the boot itself; each is looked for among modules and built-ins.
REQUIRED = ("nfs", "nfsv3", "nfsv4", "overlay")
# Optional: squashfs and loop for packs, af_packet for DHCP, the rest for unusual kernels.
OPTIONAL = ("af_packet", "squashfs", "loop", "erofs", "virtio_pci", "virtio_mmio")
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
     # What the file systems request by name from the kernel's crypto.
     "crc32c_generic", "crc32c_intel", "crc32_generic", "crc32_pclmul", "libcrc32c",
     "xxhash_generic", "blake2b_generic", "sha256_generic"}
)  # fmt: skip
# The compression of zram, if it is not built in.
_ZRAM = frozenset({"lzo", "lzo_rle", "zstd", "lz4"})
_OPTIONS = {"overlay": "OVERLAY_FS", "zram": "ZRAM"}
_NOTHING = Modprobe()


@dataclass(frozen=True, slots=True)
class Needs:
    """What a host's initrd contains in addition to what every initrd contains."""

    drivers: tuple[str, ...] = ()  # network drivers to include; empty: all drivers of wired NICs
    disk: bool = False  # local disks and their file systems
    zram: bool = False
    devices: tuple[str, ...] = ()  # modaliases of the machine, if it is known; () otherwise


def needed(
    tree: ModuleTree, needs: Needs, system: str, modprobe: Modprobe = _NOTHING
) -> tuple[str, ...]:
    """Return the files of the modules that the boot needs, with dependencies, sorted."""
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
        _refuse_forbidden(tree, tree.by_name[name], system, modprobe)
        wanted.append(tree.by_name[name])
    wanted += [tree.by_name[name] for name in OPTIONAL if name in tree.by_name]
    wanted += _drivers(Hardware(tree), needs, system, modprobe)
    if needs.zram:
        wanted += [tree.by_name[name] for name in _ZRAM if name in tree.by_name]
    if needs.disk:
        wanted += [file for file in tree.dependencies if _is_for_disks(file)]
    allowed = [file for file in wanted if _forbidden(tree, file, modprobe) is None]
    return tuple(sorted(_closed(tree, allowed, modprobe)))


def _is_for_disks(file: str) -> bool:
    return file.startswith(_DISKS) or module_name(file) in _DISK_SINGLE


def _forbidden(tree: ModuleTree, file: str, modprobe: Modprobe) -> str | None:
    """Return the line that forbids a module, or one that it depends on, or None."""
    names = map(module_name, (file, *tree.dependencies[file]))
    return next((modprobe.forbidden[name] for name in names if name in modprobe.forbidden), None)


def _refuse_forbidden(tree: ModuleTree, file: str, system: str, modprobe: Modprobe) -> None:
    line = _forbidden(tree, file, modprobe)
    if line is not None:
        raise UnbootableError(
            f"{system} forbids {module_name(file)}, which its boot needs: {line}",
            "remove this line from boot.extraModprobeConfig or boot.kernelParams, and build again",
        )


def _drivers(hardware: Hardware, needs: Needs, system: str, modprobe: Modprobe) -> list[str]:
    """Return the drivers of the network with those of their buses."""
    tree = hardware.tree
    if needs.drivers:
        return hardware.with_buses(_named(tree, needs.drivers, system, modprobe))
    every = [
        file
        for file in hardware.wired()
        if module_name(file) not in modprobe.blacklist and _forbidden(tree, file, modprobe) is None
    ]
    if not needs.devices:
        return hardware.with_buses(every)
    there = set(hardware.driving(needs.devices)) | {
        tree.by_name[name] for name in map(canonical, needs.devices) if name in tree.by_name
    }
    own = [file for file in every if not there.isdisjoint((file, *tree.dependencies[file]))]
    # A machine whose NIC this kernel does not know may have another one by now.
    return hardware.with_buses(own or every)


def _named(
    tree: ModuleTree, drivers: tuple[str, ...], system: str, modprobe: Modprobe
) -> list[str]:
    files = []
    for driver in drivers:
        name = canonical(driver)
        if name in modprobe.blacklist:
            raise UnbootableError(
                f"{system} blacklists the network driver {driver}, which initrd.drivers names",
                "remove it from boot.blacklistedKernelModules and build again, or from "
                "initrd.drivers",
            )
        if name in tree.by_name:
            _refuse_forbidden(tree, tree.by_name[name], system, modprobe)
            files.append(tree.by_name[name])
        elif name not in tree.built_in:
            raise UnbootableError(
                f"the kernel of {system} has no network driver {driver}",
                "correct initrd.drivers in the configuration, or leave it out to include all "
                "drivers",
            )
    return files


def _closed(tree: ModuleTree, files: list[str], modprobe: Modprobe) -> set[str]:
    """Return the files, and all that they depend on, hard or soft."""
    done: set[str] = set()
    pending = list(files)
    while pending:
        file = pending.pop()
        if file in done:
            continue
        done.add(file)
        pending += tree.dependencies[file]
        name = module_name(file)
        for soft in (*tree.soft.get(name, ()), *modprobe.soft.get(name, ())):
            found = [tree.by_name[each] for each in tree.named(soft) if each in tree.by_name]
            pending += [each for each in found if _forbidden(tree, each, modprobe) is None]
    return done


def firmware_of(module: bytes) -> tuple[str, ...]:
    """Return the firmware files that a module names in its .modinfo section (MODULE_FIRMWARE)."""
    return elf.modinfo(module, "firmware")


def index_files(
    tree: ModuleTree, files: tuple[str, ...], modprobe: Modprobe = _NOTHING
) -> dict[str, str]:
    """Return modules.dep, modules.alias and configuration for a subset, for busybox's modprobe.

    It knows neither soft dependencies nor, in every build, blacklists. So what is to be loaded
    before a module becomes a dependency, and a module on the blacklist has no alias.
    """
    chosen = set(files)
    names = {module_name(file) for file in files}
    dep = [
        " ".join(map(plain, (f"{plain(file)}:", *_loaded_before(tree, file, chosen, modprobe))))
        for file in files
    ]
    aliases = dict.fromkeys((*modprobe.aliases, *tree.aliases))
    alias = [
        f"alias {pattern} {name}"
        for pattern, name in aliases
        if name in names and name not in modprobe.blacklist
    ]
    return {
        "modules.dep": "".join(line + "\n" for line in dep),
        "modules.alias": "".join(line + "\n" for line in alias),
        "modules.symbols": "",
    }


def _loaded_before(
    tree: ModuleTree, file: str, chosen: set[str], modprobe: Modprobe
) -> dict[str, None]:
    """Return what must be loaded before a module, the first one last (depmod's modules.dep)."""
    found = dict.fromkeys(tree.dependencies[file])
    for each in (file, *tree.dependencies[file]):
        name = module_name(each)
        for soft in (*tree.before.get(name, ()), *modprobe.before.get(name, ())):
            for other in tree.named(soft):
                wanted = tree.by_name.get(other, "")
                if wanted in chosen and wanted != file:
                    found.update(dict.fromkeys((wanted, *tree.dependencies[wanted])))
    found.pop(file, None)
    return found


def options_file(files: tuple[str, ...], modprobe: Modprobe) -> str:
    """Return the parameters of included modules as a file of modprobe.d."""
    names = {module_name(file) for file in files}
    return "".join(f"options {name} {rest}\n" for name, rest in modprobe.options if name in names)
