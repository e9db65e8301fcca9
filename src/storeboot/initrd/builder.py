"""Builds a system's initrd: static busybox, that system's modules, one script."""

from __future__ import annotations

import hashlib
import json
import os
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from importlib import resources
from pathlib import Path

import structlog
import zstandard

from storeboot.errors import UnbootableError
from storeboot.initrd import cpio, modules
from storeboot.nix.fstab import FstabEntry
from storeboot.nix.system import System

log = structlog.get_logger()

FORMAT = 1  # part of every cache key; raise it when the layout below changes
_SCRIPTS = ("init", "common.sh", "begin.sh", "network.sh", "local.sh", "pack.sh", "store.sh",
            "resident.sh", "stage2.sh", "native.sh", "agent.sh", "report.sh", "dhcp.sh",
            "shutdown.sh", "watchdog.sh")  # fmt: skip
Progress = Callable[[str], None]


@dataclass(frozen=True, slots=True)
class Initrd:
    """A built initrd, ready to be served."""

    path: Path
    size: int  # bytes
    modules: int
    firmware: int
    missing_firmware: tuple[str, ...]


def build(
    system: System,
    *,
    busybox: Path,
    needs: modules.Needs,
    cache: Path,
    progress: Progress = lambda _text: None,
) -> Initrd:
    """The initrd of a system, from the cache where it is there already.

    The file depends on nothing but its inputs, and appears under its name only when it is whole.
    """
    scripts = {name: _script(name) for name in _SCRIPTS}
    key = _cache_key(system, busybox, needs, scripts)
    image, facts = cache / f"{key}.img", cache / f"{key}.json"
    if image.is_file() and facts.is_file():
        return _from_facts(image, json.loads(facts.read_text()))
    tree = modules.read_tree(system.modules)
    files = modules.needed(tree, needs, system.toplevel.text)
    progress(f"initrd of {system.toplevel.name}: {len(files)} modules")
    contents = _Contents(system, tree, files)
    members = cpio.with_parents(
        [*_base(busybox), *_script_members(scripts), *_mask_members(system), *contents.members()]
    )
    cache.mkdir(parents=True, exist_ok=True)
    _write(image, cpio.archive(members))
    found = {
        "system": system.toplevel.text,
        "modules": len(files),
        "firmware": contents.firmware,
        "missing_firmware": sorted(contents.missing),
    }
    _write_whole(facts, json.dumps(found).encode())
    log.info("initrd.built", bytes=image.stat().st_size, **found)
    return _from_facts(image, found)


def own(system: System) -> Initrd:
    """The initrd that the system brings, for mode native."""
    if system.initrd is None or not system.initrd.is_file():
        raise UnbootableError(
            f"{system.toplevel} has no initrd of its own, which mode native boots",
            "set boot.initrd.enable = true and build again, or take another mode",
        )
    return Initrd(system.initrd, system.initrd.stat().st_size, 0, 0, ())


def forget(cache: Path, needed: Callable[[str], bool]) -> None:
    """Remove the initrds of systems that are not needed; one that is asked for is built again."""
    for facts in sorted(cache.glob("*.json")):
        if not needed(json.loads(facts.read_text()).get("system", "")):
            facts.unlink()
            facts.with_suffix(".img").unlink(missing_ok=True)


def _from_facts(image: Path, facts: dict[str, object]) -> Initrd:
    return Initrd(
        path=image,
        size=image.stat().st_size,
        modules=int(str(facts["modules"])),
        firmware=int(str(facts["firmware"])),
        missing_firmware=tuple(facts["missing_firmware"]),  # type: ignore[arg-type]
    )


def _cache_key(system: System, busybox: Path, needs: modules.Needs, scripts: dict[str, str]) -> str:
    busybox_hash = hashlib.sha256(busybox.read_bytes()).hexdigest()
    inputs = (FORMAT, system.toplevel.text, busybox_hash, needs, sorted(scripts.items()))
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
    """Units that take the place of those made from fstab, and do nothing.

    Swap has none: its unit would wait for its device whatever its condition says, so the kernel
    command line has `systemd.swap=no` instead.
    """
    return [
        cpio.regular(f"storeboot/units/{entry.unit_name}", _mask(entry).encode())
        for entry in system.masked
        if not entry.is_swap
    ]


def _mask(entry: FstabEntry) -> str:
    """Whoever requires a unit with a failed condition goes on; with a masked one it fails.

    It names no device, because systemd would wait for that before it looks at the condition.
    """
    lines = (
        "[Unit]",
        f"Description={entry.mount_point} (not on this diskless machine)",
        "ConditionPathExists=!/run/storeboot",
        "[Mount]",
        "What=storeboot",
        f"Where={entry.mount_point}",
        "Type=tmpfs",
    )
    return "".join(line + "\n" for line in lines)


class _Contents:
    """Modules, their index and the firmware that they ask for."""

    def __init__(self, system: System, tree: modules.ModuleTree, files: tuple[str, ...]) -> None:
        self._system = system
        self._tree = tree
        self._files = files
        self.firmware = 0
        self.missing: set[str] = set()

    def members(self) -> Iterator[cpio.Member]:
        base = f"lib/modules/{self._system.kernel_version}"
        wanted: set[str] = set()
        for file in self._files:
            data = modules.load(self._tree.directory / file)
            wanted.update(modules.firmware_of(data))
            yield cpio.regular(f"{base}/{modules.plain(file)}", data)
        for name, text in modules.index_files(self._tree, self._files).items():
            yield cpio.regular(f"{base}/{name}", text.encode())
        for name in sorted(wanted):
            yield from self._firmware(name)

    def _firmware(self, name: str) -> Iterator[cpio.Member]:
        """The kernel looks for a name as it is, then with .zst and .xz."""
        base = self._system.firmware
        for suffix in ("", ".zst", ".xz"):
            if base is not None and (base / (name + suffix)).is_file():
                self.firmware += 1
                yield cpio.regular(
                    f"lib/firmware/{name}{suffix}", (base / (name + suffix)).read_bytes()
                )
                return
        self.missing.add(name)


def _write(path: Path, pieces: Iterator[bytes]) -> None:
    """Zstandard, which every kernel since 5.9 unpacks (CONFIG_RD_ZSTD)."""
    partial = path.with_suffix(f".{os.getpid()}-{threading.get_ident()}.partial")
    compressor = zstandard.ZstdCompressor(level=12, threads=-1)
    with partial.open("wb") as stream, compressor.stream_writer(stream) as writer:
        for piece in pieces:
            writer.write(piece)
    partial.replace(path)


def _write_whole(path: Path, data: bytes) -> None:
    partial = path.with_suffix(f".{os.getpid()}-{threading.get_ident()}.partial")
    partial.write_bytes(data)
    partial.replace(path)
