"""Builds a system's initrd: static busybox, modules of that system, one script."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from importlib import resources
from pathlib import Path
from typing import Any

import structlog
import zstandard

from storeboot import files
from storeboot.errors import UnbootableError
from storeboot.initrd import cpio, modules
from storeboot.initrd.modprobe import Modprobe, parse
from storeboot.initrd.module_tree import ModuleTree, plain, read_tree
from storeboot.nix.fstab import FstabEntry
from storeboot.nix.system import System
from storeboot.protocol.units import DIRECTORY, UNITS

log = structlog.get_logger()

FORMAT = 3  # part of every cache key; increase it when the layout below changes
_SCRIPTS = ("init", "common.sh", "begin.sh", "network.sh", "local.sh", "pack.sh", "store.sh",
            "resident.sh", "stage2.sh", "native.sh", "units.sh", "agent.sh", "report.sh", "dhcp.sh",
            "shutdown.sh", "watchdog.sh")  # fmt: skip
_NAME = re.compile(r"[0-9a-f]{32}")
Progress = Callable[[str], None]


@dataclass(frozen=True, slots=True)
class Initrd:
    """A built initrd, ready to be served."""

    path: Path
    size: int  # bytes
    modules: int
    firmware: int
    missing_firmware: tuple[str, ...]
    sha256: str = ""  # of an initrd built here; "" for a system's own, which Nix keeps

    def is_whole(self) -> bool:
        """Return whether its file exists and is what it was when it was built."""
        if not self.sha256:
            return self.path.exists()
        return files.checked.match(self.path, self.size, self.sha256)


def build(
    system: System,
    *,
    busybox: Path,
    needs: modules.Needs,
    cache: Path,
    progress: Progress = lambda _text: None,
) -> Initrd:
    """Return the initrd of a system; build it unless it is in the cache.

    The file depends on nothing but its inputs, and gets its name only when it is complete.
    """
    scripts = {name: _script(name) for name in _SCRIPTS}
    key = _cache_key(system, busybox, needs, scripts)
    image, facts = cache / f"{key}.img", cache / f"{key}.json"
    known = _described(image)
    if known is not None and known.is_whole():
        return known
    contents = _contents(system, needs)
    progress(f"initrd of {system.toplevel.name}: {len(contents.files)} modules")
    members = cpio.with_parents(
        [
            *_base(busybox),
            *_script_members(scripts),
            *_mask_members(system),
            *_unit_members(),
            *contents.members(),
        ]
    )
    files.make_directory(cache)
    with files.publish(image) as partial:
        _compress(partial, cpio.archive(members))
        found = {
            "system": system.toplevel.text,
            "size": partial.stat().st_size,
            "sha256": files.sha256(partial),
            "modules": len(contents.files),
            "firmware": contents.firmware,
            "missing_firmware": sorted(contents.missing),
        }
        # Written first, so that no image is ever without its facts, which tell whether it is
        # complete.
        files.write(facts, json.dumps(found))
    log.info("initrd.built", **found)
    return _from_facts(image, found)


def check(system: System, needs: modules.Needs) -> None:
    """Raise the error with which `build` would fail for this system; write nothing."""
    for _member in _contents(system, needs).members():
        pass


def own(system: System) -> Initrd:
    """Return the system's own initrd, for mode native."""
    if system.initrd is None or not system.initrd.is_file():
        raise UnbootableError(
            f"{system.toplevel} has no initrd of its own, but mode native boots it",
            "set boot.initrd.enable = true and build again, or take another mode",
        )
    return Initrd(system.initrd, system.initrd.stat().st_size, 0, 0, ())


def forget(cache: Path, needed: Callable[[str], bool]) -> None:
    """Remove the initrds of systems that are not needed. If one is asked for, it is rebuilt.

    Initrds with damaged facts are removed as well.
    """
    for facts in sorted(cache.glob("*.json")):
        if _NAME.fullmatch(facts.stem) and not needed(_system_of(facts)):
            files.remove(facts.with_suffix(".img"), durable=False)
            files.remove(facts, durable=False)
    for image in sorted(cache.glob("*.img")):
        if _NAME.fullmatch(image.stem) and not image.with_suffix(".json").exists():
            files.remove(image, durable=False)


def _system_of(facts: Path) -> str:
    """Return the system that an initrd was built for, or "" if that cannot be determined."""
    try:
        return str(json.loads(facts.read_bytes())["system"])
    except (OSError, ValueError, KeyError, TypeError):
        return ""


def _described(image: Path) -> Initrd | None:
    """Return an initrd by its facts, or None if they are lost, damaged, or of an older version."""
    try:
        return _from_facts(image, json.loads(image.with_suffix(".json").read_bytes()))
    except (OSError, ValueError, KeyError, TypeError):
        return None


def _from_facts(image: Path, facts: Mapping[str, Any]) -> Initrd:
    return Initrd(
        path=image,
        size=int(facts["size"]),
        modules=int(facts["modules"]),
        firmware=int(facts["firmware"]),
        missing_firmware=tuple(facts["missing_firmware"]),
        sha256=str(facts["sha256"]),
    )


def _cache_key(system: System, busybox: Path, needs: modules.Needs, scripts: dict[str, str]) -> str:
    busybox_hash = hashlib.sha256(busybox.read_bytes()).hexdigest()
    units = [unit.text() for unit in UNITS]
    # What is masked depends on more than the toplevel: on what this program knows of file systems.
    masks = [entry.unit_name for entry in system.masked]
    inputs = (FORMAT, system.toplevel.text, busybox_hash, needs, sorted(scripts.items()), units,
              masks)  # fmt: skip
    return hashlib.sha256(repr(inputs).encode()).hexdigest()[:32]


def _script(name: str) -> str:
    return resources.files("storeboot.initrd").joinpath("scripts", name).read_text()


def _base(busybox: Path) -> list[cpio.Member]:
    return [
        cpio.regular("bin/busybox", busybox.read_bytes(), 0o755),
        cpio.symlink("bin/sh", "busybox"),
        cpio.symlink("sbin", "bin"),
        cpio.symlink("init", "storeboot/init"),
        # The kernel opens /dev/console before anything is mounted.
        cpio.character_device("dev/console", 0o600, 5, 1),
        cpio.character_device("dev/null", 0o666, 1, 3),
        *[cpio.directory(path) for path in ("proc", "sys", "run", "sysroot", "tmp")],
    ]


def _script_members(scripts: dict[str, str]) -> list[cpio.Member]:
    return [
        cpio.regular(f"storeboot/{name}", text.encode(), 0o755) for name, text in scripts.items()
    ]


def _mask_members(system: System) -> list[cpio.Member]:
    """Return units that replace those made from fstab, and do nothing.

    Swap gets none: its unit would wait for its device whatever its condition is. The kernel command
    line has `systemd.swap=no` instead.
    """
    return [
        cpio.regular(f"storeboot/units/{entry.unit_name}", _mask(entry).encode())
        for entry in system.masked
        if not entry.is_swap
    ]


def _unit_members() -> Iterator[cpio.Member]:
    """Yield units for stage 2, each with the link that pulls it in."""
    for unit in UNITS:
        yield cpio.regular(f"storeboot/units/{unit.name}", unit.text().encode())
        yield cpio.symlink(f"storeboot/units/{unit.target}.wants/{unit.name}", f"../{unit.name}")


def _mask(entry: FstabEntry) -> str:
    """Return a unit with a condition that fails, which satisfies units that require it.

    A masked unit would make them fail. The unit names no device, because systemd would wait for
    that before it checks the condition.
    """
    lines = (
        "[Unit]",
        f"Description={entry.mount_point} (not on this diskless machine)",
        f"ConditionPathExists=!{DIRECTORY}",
        "[Mount]",
        "What=storeboot",
        f"Where={entry.mount_point}",
        "Type=tmpfs",
    )
    return "".join(line + "\n" for line in lines)


def _contents(system: System, needs: modules.Needs) -> _Contents:
    tree = read_tree(system.modules)
    configuration = parse(system.modprobe, system.kernel_params)
    wanted = modules.needed(tree, needs, system.toplevel.text, configuration)
    return _Contents(system, tree, wanted, configuration)


class _Contents:
    """Modules, their index and configuration, and the firmware that they ask for."""

    def __init__(
        self, system: System, tree: ModuleTree, wanted: tuple[str, ...], configuration: Modprobe
    ) -> None:
        self._system = system
        self._tree = tree
        self._configuration = configuration
        self.files = wanted
        self.firmware = 0
        self.missing: set[str] = set()

    def members(self) -> Iterator[cpio.Member]:
        base = f"lib/modules/{self._system.kernel_version}"
        wanted = set(self._tree.built_in_firmware)
        for file in self.files:
            data = self._tree.load(file)
            wanted.update(modules.firmware_of(data))
            yield cpio.regular(f"{base}/{plain(file)}", data)
        index = modules.index_files(self._tree, self.files, self._configuration)
        for name, text in index.items():
            yield cpio.regular(f"{base}/{name}", text.encode())
        options = modules.options_file(self.files, self._configuration)
        if options:
            yield cpio.regular("etc/modprobe.d/system.conf", options.encode())
        for name in sorted(wanted):
            yield from self._firmware(name)

    def _firmware(self, name: str) -> Iterator[cpio.Member]:
        """Yield a firmware file; the kernel looks everywhere for its name as it is, then with .zst,
        then with .xz (drivers/base/firmware_loader/main.c)."""
        for suffix in ("", ".zst", ".xz"):
            for directory in self._system.firmware:
                place = directory.file(name + suffix)
                if place is not None:
                    self.firmware += 1
                    yield cpio.regular(f"lib/firmware/{name}{suffix}", place.read_bytes())
                    return
        self.missing.add(name)


def _compress(path: Path, pieces: Iterator[bytes]) -> None:
    """Compress with Zstandard, which every kernel since 5.9 unpacks (CONFIG_RD_ZSTD)."""
    compressor = zstandard.ZstdCompressor(level=12, threads=-1)
    with path.open("wb") as stream, compressor.stream_writer(stream) as writer:
        for piece in pieces:
            writer.write(piece)
