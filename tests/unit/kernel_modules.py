"""Kernel modules as a linker leaves them: ELF files with .modinfo and a table of symbols."""

from __future__ import annotations

import struct
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from storeboot.initrd.module_tree import ModuleTree, module_name, read_tree
from storeboot.nix.store import StoreTree

_HEADER = struct.Struct("<16sHHIQQQIHHHHHH")
_SECTION = struct.Struct("<IIQQQQIIQQ")
_SYMBOL = struct.Struct("<IBBHQQ")


def elf(imports: Iterable[str] = (), modinfo: Iterable[str] = ("license=GPL",)) -> bytes:
    """Return a relocatable file that takes these symbols and has these lines of MODULE_INFO."""
    strings, symbols = b"\0", _SYMBOL.pack(0, 0, 0, 0, 0, 0)
    for index, symbol in enumerate(["own_function", *imports]):
        symbols += _SYMBOL.pack(len(strings), 0x12, 0, 1 if index == 0 else 0, 0, 0)
        strings += symbol.encode() + b"\0"
    names = b"\0.modinfo\0.symtab\0.strtab\0.shstrtab\0"
    parts = [
        (b".modinfo", 1, b"".join(line.encode() + b"\0" for line in modinfo), 0),
        (b".symtab", 2, symbols, 3),
        (b".strtab", 3, strings, 0),
        (b".shstrtab", 3, names, 0),
    ]
    data, headers = b"", _SECTION.pack(0, 0, 0, 0, 0, 0, 0, 0, 0, 0)
    for name, kind, part, link in parts:
        start = _HEADER.size + len(data)
        size = _SYMBOL.size if kind == 2 else 0
        headers += _SECTION.pack(
            names.index(name + b"\0"), kind, 0, 0, start, len(part), link, 0, 1, size
        )
        data += part
    ident = b"\x7fELF\2\1\1" + bytes(9)
    header = _HEADER.pack(
        ident, 1, 62, 1, 0, 0, _HEADER.size + len(data), 0, 64, 0, 0, 64, len(parts) + 1, len(parts)
    )
    return header + data + headers


@dataclass(frozen=True)
class Module:
    """One module of a kernel that is made for a test."""

    file: str  # below kernel/, without a directory that would tell what it is
    imports: tuple[str, ...] = ()
    aliases: tuple[str, ...] = ()
    needs: tuple[str, ...] = ()  # names, all that it depends on
    firmware: tuple[str, ...] = ()


@dataclass
class Kernel:
    """A directory lib/modules/<version>, as modules_install and depmod leave it."""

    directory: Path
    modules: list[Module] = field(default_factory=list)
    built_in: tuple[str, ...] = ("nfs", "nfsv3", "nfsv4", "overlay")
    more: Mapping[str, str] = field(default_factory=dict)  # other files

    def write(self) -> Path:
        self.directory.mkdir(parents=True, exist_ok=True)
        files = {module_name(each.file): f"kernel/{each.file}" for each in self.modules}
        dep, alias = [], []
        for each in self.modules:
            place = self.directory / "kernel" / each.file
            place.parent.mkdir(parents=True, exist_ok=True)
            place.write_bytes(elf(each.imports, [f"firmware={name}" for name in each.firmware]))
            dep.append(f"kernel/{each.file}: {' '.join(files[name] for name in each.needs)}")
            alias += [f"alias {pattern} {module_name(each.file)}" for pattern in each.aliases]
        built_in = "".join(f"kernel/fs/{name}.ko\n" for name in self.built_in)
        texts = {
            "modules.dep": "".join(f"{line}\n" for line in dep),
            "modules.alias": "".join(f"{line}\n" for line in alias),
            "modules.builtin": built_in,
            **self.more,
        }
        for name, text in texts.items():
            (self.directory / name).write_text(text)
        return self.directory

    def tree(self) -> ModuleTree:
        return read_tree(StoreTree.plain(self.write()))
