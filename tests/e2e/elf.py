"""Which libraries programs need, among unpacked packages."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from elftools.elf.dynamic import DynamicSection
from elftools.elf.elffile import ELFFile


def libraries(packages: Iterable[Path]) -> dict[str, Path]:
    """Files by soname, of all packages."""
    found: dict[str, Path] = {}
    for package in packages:
        for directory in ("usr/lib/x86_64-linux-gnu", "usr/lib/x86_64-linux-gnu/systemd"):
            for file in sorted(package.glob(f"{directory}/*.so*")):
                if file.exists():
                    found.setdefault(file.name, file.resolve())
    return found


def closure(programs: Iterable[Path], known: dict[str, Path]) -> dict[str, Path]:
    """All libraries that the programs need, those of libraries included, by soname."""
    needed: dict[str, Path] = {}
    pending = list(programs)
    while pending:
        for name in _needed(pending.pop()):
            if name not in needed and name in known:
                needed[name] = known[name]
                pending.append(known[name])
    return needed


def _needed(file: Path) -> list[str]:
    with file.open("rb") as stream:
        if stream.read(4) != b"\x7fELF":
            return []
        section = ELFFile(stream).get_section_by_name(".dynamic")
        if not isinstance(section, DynamicSection):
            return []
        return [str(tag.needed) for tag in section.iter_tags("DT_NEEDED")]  # type: ignore[attr-defined]
