"""Guesses which files a system's first boot reads, from the system itself.

What NixOS starts is named in a few places: stage 2, /etc, and the units that targets want. From
there, scripts and units name programs, and programs name libraries. What the guess misses comes
over NFS once, and is learned.
"""

from __future__ import annotations

import os
import re
import stat
from collections import defaultdict
from collections.abc import Iterable, Iterator
from contextlib import suppress
from pathlib import Path

from elftools.common.exceptions import ELFError
from elftools.elf.dynamic import DynamicSection
from elftools.elf.elffile import ELFFile
from elftools.elf.segments import InterpSegment

from storeboot.nix.store import STORE_DIR, Store, StorePath
from storeboot.pack.hot import GUESSED, HotList

MAX_BYTES = 96 << 20  # of all files together
MAX_TEXT = 256 << 10  # of a file of /etc, or a file that is searched for names
_PATH = re.compile(r"/[A-Za-z0-9_./+@%-]+")
_UNITS = ("etc/systemd/system", "sw/lib/systemd/system")
_SYSTEMD = ("systemd", "systemd-executor", "systemd-journald", "systemd-udevd", "systemd-shutdown")
# What the agent calls once the machine is up.
_PROGRAMS = ("systemctl", "nix-store", "fincore")
# Where a path outside the store leads to, inside the toplevel.
_PLACES = (("/run/current-system/", ""), ("/etc/", "etc/"), ("/usr/", "sw/"), ("/", "sw/"))


def guess(store: Store, closure: Iterable[StorePath], toplevels: Iterable[StorePath]) -> HotList:
    """Return a guess for a closure with these systems. Blocks a second or two for a desktop."""
    libraries = _libraries(store, closure)
    found: dict[Path, None] = {}
    for toplevel in toplevels:
        _Guess(store, toplevel, libraries, found).run()
    return HotList({os.fsencode(file.relative_to(store.directory)): GUESSED for file in found})


def _libraries(store: Store, closure: Iterable[StorePath]) -> dict[str, list[Path]]:
    """Return every shared library of the closure, by all its names."""
    libraries: dict[str, list[Path]] = defaultdict(list)
    for path in closure:
        for directory, _, names in os.walk(store.physical(path)):
            for name in names:
                if ".so" in name:
                    libraries[name].append(Path(directory, name))
    return libraries


class _Guess:
    """One system."""

    def __init__(
        self,
        store: Store,
        toplevel: StorePath,
        libraries: dict[str, list[Path]],
        found: dict[Path, None],
    ) -> None:
        self._store = store
        self._toplevel = toplevel
        self._libraries = libraries
        self._found = found
        self._bytes = 0
        self._pending: list[Path] = []

    def run(self) -> None:
        for place in self._seeds():
            self._add(place)
        # What is named first is taken first, in case it is too much.
        while self._pending and self._bytes < MAX_BYTES:
            for place in self._named_by(self._pending.pop(0)):
                self._add(place)

    def _add(self, place: Path | None) -> None:
        if place is None or place in self._found:
            return
        with suppress(OSError):
            state = place.stat()
            if stat.S_ISREG(state.st_mode):
                self._found[place] = None
                self._bytes += state.st_size
                self._pending.append(place)

    def _follow(self, relative: str) -> Path | None:
        return self._store.follow(self._toplevel, relative)

    def _seeds(self) -> Iterator[Path | None]:
        for name in ("init", "prepare-root", "activate"):
            yield self._follow(name)
        for name in _SYSTEMD:
            yield self._follow(f"systemd/lib/systemd/{name}")
        yield from self._below("systemd/lib/systemd/system-generators", MAX_BYTES)
        yield from self._below("etc", MAX_TEXT)
        for units in _UNITS:
            yield from self._wanted(units)
        for name in _PROGRAMS:
            yield self._follow(f"sw/bin/{name}")
        modules = self._follow("kernel-modules/lib/modules")
        if modules is not None:
            yield from modules.glob("*/modules.*.bin")

    def _below(self, relative: str, limit: int) -> Iterator[Path | None]:
        """Yield the regular files in a tree of links that are no larger than `limit`."""
        pending = [relative]
        while pending:
            inside = pending.pop()
            place = self._follow(inside)
            if place is None:
                continue
            if place.is_dir():
                if inside.count("/") < 8:  # a link may lead back up
                    pending += [f"{inside}/{name}" for name in _names(place)]
            elif place.stat().st_size <= limit:
                yield place

    def _wanted(self, units: str) -> Iterator[Path | None]:
        """Yield the units that a target wants or requires by a link."""
        directory = self._follow(units)
        if directory is None:
            return
        for name in _names(directory):
            if name.endswith((".wants", ".requires")):
                for unit in _names(directory / name):
                    yield self._follow(f"{units}/{name}/{unit}") or self._follow(f"{units}/{unit}")

    def _named_by(self, file: Path) -> Iterator[Path | None]:
        if not file.is_file():  # a FIFO would never end
            return
        with file.open("rb") as stream:
            if stream.read(4) == b"\x7fELF":
                for name, directories in _needed(file):
                    yield from self._library(name, directories)
                return
            if file.stat().st_size > MAX_TEXT:
                return
            stream.seek(0)
            text = stream.read().decode(errors="replace")
        for name in _PATH.findall(text):
            yield self._program(name)

    def _program(self, name: str) -> Path | None:
        """Return what a path leads to on the machine, or None if it cannot be executed."""
        if name.startswith(STORE_DIR + "/"):
            base, _, inside = name[len(STORE_DIR) + 1 :].partition("/")
            found = self._store.follow(StorePath(f"{STORE_DIR}/{base}"), inside) if inside else None
        else:
            found = next(
                (
                    place
                    for prefix, inside in _PLACES
                    if name.startswith(prefix)
                    and (place := self._follow(inside + name.removeprefix(prefix)))
                ),
                None,
            )
        return found if found is not None and os.access(found, os.X_OK) else None

    def _library(self, name: str, directories: list[str]) -> Iterator[Path | None]:
        """Yield a library from the RUNPATH if it is there, otherwise every one of that name."""
        if name.startswith("/"):  # the program interpreter
            yield self._program(name)
            name = name.rpartition("/")[2]
        for directory in directories:
            if (place := self._program(f"{directory}/{name}")) is not None:
                yield place
                return
        for candidate in self._libraries.get(name, ()):
            relative = candidate.relative_to(self._store.directory)
            base, *inside = relative.parts
            yield self._store.follow(StorePath(f"{STORE_DIR}/{base}"), "/".join(inside))


def _names(directory: Path) -> list[str]:
    return sorted(child.name for child in directory.iterdir())


def _needed(file: Path) -> Iterator[tuple[str, list[str]]]:
    """Yield the interpreter and the libraries of an ELF file, with the directories of its
    RUNPATH."""
    with suppress(ELFError, OSError, UnicodeDecodeError), file.open("rb") as stream:
        elf = ELFFile(stream)
        for segment in elf.iter_segments():
            if isinstance(segment, InterpSegment):
                yield segment.get_interp_name(), []
        dynamic = elf.get_section_by_name(".dynamic")
        if not isinstance(dynamic, DynamicSection):
            return
        words: dict[str, list[str]] = {"DT_NEEDED": [], "DT_RUNPATH": [], "DT_RPATH": []}
        for tag in dynamic.iter_tags():
            kind = tag.entry.d_tag
            if kind in words:  # the attribute that has its text is named after it
                words[kind].append(str(getattr(tag, kind.removeprefix("DT_").lower())))
        paths = words["DT_RUNPATH"] or words["DT_RPATH"]
        directories = [directory for path in paths for directory in path.split(":")]
        for name in words["DT_NEEDED"]:
            yield name, directories
