"""A system's kernel modules, as depmod(8) has described them, and their files."""

from __future__ import annotations

import lzma
import re
import zlib
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import zstandard

from storeboot.errors import UnbootableError
from storeboot.initrd import elf
from storeboot.nix.store import StoreTree

_REBUILD = "let depmod run again: build the system again, and look at the disk of its store (dmesg)"
_DAMAGED = (OSError, EOFError, ValueError, lzma.LZMAError, zlib.error, zstandard.ZstdError)
Soft = dict[str, tuple[str, ...]]


@dataclass(frozen=True, slots=True)
class ModuleTree:
    """`lib/modules/<version>`: names are those of the kernel, with `_`; files are relative."""

    tree: StoreTree
    dependencies: dict[str, tuple[str, ...]]  # file -> files, all of them, modules.dep
    by_name: dict[str, str]
    built_in: frozenset[str]
    aliases: tuple[tuple[str, str], ...] = field(default=())  # pattern, module name
    soft: Soft = field(default_factory=dict)  # what a module wants to have loaded, by its name
    before: Soft = field(default_factory=dict)  # and before itself
    built_in_firmware: tuple[str, ...] = ()  # that drivers of NICs name that are built in

    def load(self, file: str) -> bytes:
        """Return a module's ELF file; raise UnbootableError if it cannot be read or unpacked."""
        place = self.tree.file(file)
        if place is None:
            raise UnbootableError(
                f"modules.dep of {self.tree.name} names {file}: it {self.tree.fault(file)}",
                _REBUILD,
            )
        try:
            data = load(place)
            elf.section(data, ".modinfo")
        except _DAMAGED as error:
            reason = getattr(error, "strerror", None) or str(error) or "it is cut off"
            raise UnbootableError(f"module {place} is damaged: {reason}", _REBUILD) from None
        return data

    def named(self, word: str) -> list[str]:
        """Return the modules that a name means, or an alias such as `crypto-crc32c`."""
        return [canonical(word), *(name for alias, name in self.aliases if alias == word)]


def canonical(name: str) -> str:
    return name.replace("-", "_")


def module_name(file: str) -> str:
    """Return the kernel's name of a module file: `a/b-c.ko.xz` is b_c."""
    return canonical(file.rpartition("/")[2].partition(".ko")[0])


def read_tree(tree: StoreTree) -> ModuleTree:
    """Read the lists of depmod; raise UnbootableError, with file and line, if they are damaged."""
    dependencies: dict[str, tuple[str, ...]] = {}
    for number, line in enumerate(_lines(tree, "modules.dep"), 1):
        file, colon, needs = line.partition(":")
        if not colon:
            raise _damaged(tree, f"line {number} is cut off: {line[:80]!r}")
        dependencies[file] = tuple(needs.split())
    _check(tree, dependencies)
    soft, before = soft_dependencies(_lines(tree, "modules.softdep"))
    return ModuleTree(
        tree=tree,
        dependencies=dependencies,
        by_name={module_name(file): file for file in dependencies},
        built_in=frozenset(module_name(line) for line in _lines(tree, "modules.builtin")),
        aliases=tuple(
            (words[1], canonical(words[2]))
            for words in map(str.split, _lines(tree, "modules.alias"))
            if len(words) == 3 and words[0] == "alias"
        ),
        soft=soft,
        before=before,
        built_in_firmware=_built_in_firmware(tree),
    )


def _built_in_firmware(tree: StoreTree) -> tuple[str, ...]:
    """Return the firmware of built-in network drivers: `NAME.firmware=FILE` (Linux,
    scripts/Makefile.modinst, modules.builtin.modinfo).

    What is built in has no symbols that could be asked for, so its file tells what it is.
    """
    place = tree.file("modules.builtin.modinfo")
    if place is None:
        return ()
    firmware: dict[str, list[str]] = {}
    network = set()
    for words in place.read_bytes().decode(errors="replace").split("\0"):
        name, _, rest = words.partition(".")
        field_name, _, value = rest.partition("=")
        if field_name == "firmware":
            firmware.setdefault(name, []).append(value)
        elif field_name == "file" and re.match(r"drivers/net/(?!wireless/)", value):
            network.add(name)
    return tuple(sorted(each for name in network for each in firmware.get(name, ())))


def _check(tree: StoreTree, dependencies: dict[str, tuple[str, ...]]) -> None:
    for file, needs in dependencies.items():
        for need in needs:
            if need not in dependencies:
                raise _damaged(tree, f"{file} needs {need[:80]!r}, which has no line of its own")
    if not dependencies and _lines(tree, "modules.order"):
        raise _damaged(tree, "it is empty, but modules.order is not")


def _damaged(tree: StoreTree, what: str) -> UnbootableError:
    return UnbootableError(f"{tree.place}/modules.dep is damaged: {what}", _REBUILD)


def soft_dependencies(lines: Iterable[str]) -> tuple[Soft, Soft]:
    """Return all soft dependencies by module, and those that come before (modprobe.d(5))."""
    soft: Soft = {}
    before: Soft = {}
    for words in map(str.split, lines):
        if len(words) < 3 or words[0] != "softdep":
            continue
        name, is_before = canonical(words[1]), False
        for word in words[2:]:
            if word in ("pre:", "post:"):
                is_before = word == "pre:"
                continue
            soft[name] = (*soft.get(name, ()), word)
            if is_before:
                before[name] = (*before.get(name, ()), word)
    return soft, before


def _lines(tree: StoreTree, name: str) -> list[str]:
    place = tree.file(name)
    if place is None:
        return []
    try:
        text = place.read_text()
    except (OSError, UnicodeDecodeError) as error:
        raise UnbootableError(f"{place} cannot be read: {error}", _REBUILD) from None
    return [line for line in text.splitlines() if line and line[0] != "#"]


def load(path: Path) -> bytes:
    """Return a module's ELF file; busybox cannot load compressed modules."""
    data = path.read_bytes()
    match path.suffix:
        case ".xz":
            return lzma.decompress(data)
        case ".zst":
            return _unpacked(zstandard.ZstdDecompressor().decompressobj(), data)
        case ".gz":
            return _unpacked(zlib.decompressobj(wbits=31), data)
        case _:
            return data


def _unpacked(unpacker: Any, data: bytes) -> bytes:
    """Return everything that was packed; ValueError if its end is missing."""
    found: bytes = unpacker.decompress(data)
    if not unpacker.eof:
        raise ValueError("it is cut off")
    return found


def plain(file: str) -> str:
    """Return the name of a module file after decompression."""
    return re.sub(r"\.ko\.(xz|zst|gz)$", ".ko", file)
