"""A Nix store, used only through Nix's command line.

A store may be below another root (`--store ROOT`). A `StorePath` is the name by which Nix and the
machines know a path; `Store.physical` returns where it is on this disk.
"""

from __future__ import annotations

import base64
import json
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from typing_extensions import override

from storeboot import files
from storeboot.errors import CommandError, StoreError
from storeboot.nix.links import STORE_DIR, Traced, reach_store, trace
from storeboot.process import run

__all__ = ["STORE_DIR", "PathInfo", "Registered", "Store", "StorePath", "StoreTree"]

_PATH = re.compile(r"/nix/store/([0-9abcdfghijklmnpqrsvwxyz]{32}-[0-9A-Za-z+\-._?=]{1,211})")
# Time limits for Nix, which waits for its own locks, such as those of a garbage collection.
SECONDS = 300.0
LONG = 3600.0  # to check every path of a store, or to delete many
_INSTALL_NIX = "install Nix (on Debian: apt-get install nix-bin) and try again"


@dataclass(frozen=True, order=True, slots=True)
class StorePath:
    """A logical store path: `/nix/store/<hash>-<name>`."""

    text: str

    @classmethod
    def from_arg(cls, text: str) -> StorePath:
        if _PATH.fullmatch(text.rstrip("/")) is None:
            raise StoreError(
                f"{text!r} is not a store path",
                "give the path of a built system: /nix/store/<hash>-nixos-system-…",
            )
        return cls(text.rstrip("/"))

    @property
    def base_name(self) -> str:
        return self.text.rpartition("/")[2]

    @property
    def name(self) -> str:
        """Return the part after the hash."""
        return self.base_name[33:]

    @override
    def __str__(self) -> str:
        return self.text


@dataclass(frozen=True, slots=True)
class PathInfo:
    """What Nix's database says about a valid path."""

    path: StorePath
    nar_hash: str  # SRI form, "sha256-…"
    nar_size: int  # bytes
    references: tuple[StorePath, ...]
    deriver: str


class Store:
    """The store below `root`. The root directory `/` is this machine's own store."""

    def __init__(self, root: Path = Path("/")) -> None:
        self.root = root
        self.directory = root / STORE_DIR.lstrip("/")

    def physical(self, path: StorePath) -> Path:
        return self.directory / path.base_name

    def options(self) -> list[str]:
        """Return the options that make a Nix command use this store."""
        return [] if self.root == Path("/") else ["--store", str(self.root)]

    def arguments(self) -> list[str]:
        """Return the same for the commands of the new `nix`."""
        return [*self.options(), "--extra-experimental-features", "nix-command"]

    def closure(self, path: StorePath) -> tuple[PathInfo, ...]:
        """Return the path and everything that it refers to, sorted by path."""
        self.require(path)
        argv = ["nix", "path-info", "--json", "--recursive", *self.arguments(), path.text]
        try:
            output = run(argv, hint=_INSTALL_NIX, seconds=SECONDS)
        except CommandError:
            self._require_valid(path)
            raise
        return tuple(sorted(parse_path_info(output), key=lambda info: info.path))

    def _require_valid(self, path: StorePath) -> None:
        if not self.is_valid(path):
            raise StoreError(
                f"{path} is not valid in Nix's database",
                f"copy it properly: nix copy --to {self.root} {path}",
            ) from None

    def is_valid(self, path: StorePath) -> bool:
        """Return whether Nix's database has the path."""
        argv = ["nix-store", *self.options(), "--check-validity", "--print-invalid", path.text]
        return not run(argv, hint=_INSTALL_NIX, seconds=SECONDS).strip()

    def require(self, path: StorePath) -> None:
        if not self.physical(path).exists() and not self.physical(path).is_symlink():
            raise StoreError(
                f"{path} does not exist in the store {self.directory}",
                "build or copy it there first",
            )

    def add_root(self, link: Path, path: StorePath) -> None:
        """Make `link` an indirect garbage collection root: as long as it exists, `path` stays.

        On return both link and root are on disk.
        """
        files.make_directory(link.parent)
        words = ["--realise", path.text, "--indirect", "--add-root", str(link)]
        try:
            run(["nix-store", *self.options(), *words], seconds=SECONDS)
        except CommandError:
            self._require_valid(path)
            raise
        files.sync_directory(link.parent)
        self.sync_roots()

    def sync_roots(self) -> None:
        """Wait until the roots that Nix has made are on disk; Nix syncs only its database.

        If a daemon keeps them out of reach, `sync` is used.
        """
        with suppress(OSError):
            files.sync_directory(self.root / "nix/var/nix/gcroots/auto")

    def sync(self) -> None:
        """Wait until everything that was built and copied to the store is on disk."""
        files.sync_file_system(self.directory)

    def dead(self) -> set[str]:
        """Return the paths that no root keeps, and that the next garbage collection would
        delete."""
        output = run(["nix-store", *self.options(), "--gc", "--print-dead"], seconds=LONG)
        return {line for line in output.splitlines() if line.startswith(STORE_DIR)}

    def delete(self, paths: Iterable[str]) -> None:
        """Delete dead paths. Nix checks under its own lock, and refuses any other path.

        It also refuses what another path refers to, dead or not.
        """
        run(["nix-store", *self.options(), "--delete", *paths], seconds=LONG)

    def held_by_others(self, paths: Iterable[str]) -> set[str]:
        """Return those of these paths to which other paths refer, directly or indirectly."""
        own = set(paths)
        outside = self._query("--referrers-closure", own) - own
        return self._query("--requisites", outside) & own

    def invalid(self, paths: Iterable[str]) -> set[str]:
        """Return those that Nix's database does not have, such as the rest of an interrupted
        build."""
        found: set[str] = set()
        for some in batches(sorted(paths)):
            words = ["--check-validity", "--print-invalid", *some]
            argv = ["nix-store", *self.options(), *words]
            found |= set(run(argv, seconds=SECONDS).split())
        return found

    def _query(self, question: str, paths: Iterable[str]) -> set[str]:
        found: set[str] = set()
        for some in batches(sorted(paths)):
            argv = ["nix-store", *self.options(), "--query", question, *some]
            found |= set(run(argv, seconds=SECONDS).split())
        return found

    def trace(self, path: StorePath, relative: str = "") -> Traced:
        """Return where `relative` inside `path` really is, with every link followed, or why it is
        nowhere."""
        return trace(self.directory, f"{path.text}/{relative}")

    def follow(self, path: StorePath, relative: str = "") -> Path | None:
        """Return the same place, or None if there is none in the store."""
        return self.trace(path, relative).place

    def trace_from(self, place: Path, relative: str = "") -> Traced:
        """Do the same from a place that was found."""
        return trace(self.directory, f"{STORE_DIR}/{place.relative_to(self.directory)}/{relative}")

    def path_at(self, place: Path) -> StorePath | None:
        """Return the store path whose top is at a place, or None for a place inside one."""
        if place.parent != self.directory:
            return None
        match = _PATH.fullmatch(f"{STORE_DIR}/{place.name}")
        return StorePath(match[0]) if match else None

    def named(self, text: str) -> StorePath:
        """Return the store path for what was typed: its name, or a file that leads to it by links.

        A profile (`/nix/var/nix/profiles/system`), `./result`, `./result/specialisation/gpu`, and
        the place of a path in a store below another root are such files. Raises StoreError.
        """
        reached = reach_store(text, self._logical)
        fault = reached.fault if isinstance(reached, Traced) else ""
        if isinstance(reached, str):
            base, _, inside = reached.removeprefix(f"{STORE_DIR}/").partition("/")
            path = StorePath.from_arg(f"{STORE_DIR}/{base}")
            if not inside.strip("/"):
                return path
            found = self.trace(path, inside)
            top = self.path_at(found.place) if found.place is not None else None
            if top is not None:
                return top
            fault = found.fault or f"leads to {reached}, which is a file inside a store path"
        if "/" not in text and not Path(text).is_symlink():
            fault = ""  # rather a word than a file
        raise StoreError(
            f"{text!r} {fault or 'is not a store path'}",
            "give the path of a built system: /nix/store/<hash>-nixos-system-…, or a link to it",
        )

    def _logical(self, path: str) -> str | None:
        """Return a path of this store as Nix and the machines name it, or None for other paths."""
        for directory in {str(self.directory), STORE_DIR}:
            if path.startswith(f"{directory}/"):
                return STORE_DIR + path.removeprefix(directory)
        return None


@dataclass(frozen=True, slots=True)
class StoreTree:
    """A directory whose files are found through the links that lead to them.

    In a store below another root, the kernel here would follow them to somewhere else.
    """

    store: Store | None  # None: a directory outside of any store, whose links are as they should be
    place: Path  # physical, and no link
    name: str

    @classmethod
    def plain(cls, place: Path) -> StoreTree:
        """Return a directory outside of any store."""
        return cls(None, place, place.name)

    def file(self, relative: str) -> Path | None:
        """Return where a file of the directory really is, or None if there is none."""
        found = self._traced(relative).place
        return found if found is not None and found.is_file() else None

    def fault(self, relative: str) -> str:
        """Return why there is no such file."""
        return self._traced(relative).fault or "is no file"

    def names(self) -> list[str]:
        return sorted(child.name for child in self.place.iterdir())

    def _traced(self, relative: str) -> Traced:
        if self.store is not None:
            return self.store.trace_from(self.place, relative)
        there = self.place / relative
        return Traced(there) if there.exists() else Traced(None, "does not exist", missing=True)


def parse_path_info(output: str) -> list[PathInfo]:
    """Parse both forms of `nix path-info --json`: a list (to 2.18), an object (from 2.19)."""
    document: Any = json.loads(output)
    if isinstance(document, dict):
        document = document.get("info", document)
        items = [(path, info) for path, info in document.items()]
    else:
        items = [(info["path"], info) for info in document]
    return [_path_info(path, info) for path, info in items]


def _path_info(path: str, info: dict[str, Any] | None) -> PathInfo:
    if info is None or not info.get("valid", True):
        raise StoreError(f"{path} is not valid in Nix's database", "build or copy it first")
    nar_hash = info["narHash"]
    if isinstance(nar_hash, dict):
        nar_hash = f"{nar_hash['algorithm']}-{nar_hash['hash']}"
    return PathInfo(
        path=StorePath.from_arg(_absolute(path)),
        nar_hash=nar_hash,
        nar_size=info["narSize"],
        references=tuple(sorted(StorePath(_absolute(ref)) for ref in info["references"])),
        deriver=info.get("deriver") or "",
    )


def _absolute(path: str) -> str:
    """Add the store directory, which the newest Nix leaves out."""
    return path if path.startswith("/") else f"{STORE_DIR}/{path}"


def registration(closure: Iterable[PathInfo]) -> str:
    """Return text for `nix-store --load-db`: name, hash, size, deriver and references per path."""
    lines: list[str] = []
    for info in closure:
        digest = base64.b64decode(info.nar_hash.removeprefix("sha256-")).hex()
        references = [ref.text for ref in info.references]
        lines += [info.path.text, digest, str(info.nar_size), "", str(len(references))]
        lines += references
    return "".join(line + "\n" for line in lines)


def batches(paths: Sequence[str]) -> Iterator[Sequence[str]]:
    """Yield as many paths at a time as fit into one command line."""
    for start in range(0, len(paths), 5000):
        yield paths[start : start + 5000]


@dataclass(frozen=True, slots=True)
class Registered:
    """A path of a registration."""

    size: int  # bytes, as Nix counts them
    references: tuple[str, ...]


def parse_registration(text: str) -> dict[str, Registered]:
    """Parse a registration, without hash and deriver; return its paths. ValueError if damaged."""
    found: dict[str, Registered] = {}
    lines = iter(text.splitlines())
    try:
        for path in lines:
            _hash, size, _deriver = next(lines), int(next(lines)), next(lines)
            references = tuple([next(lines) for _ in range(int(next(lines)))])
            found[path] = Registered(size, references)
    except StopIteration:
        raise ValueError("the registration is cut off") from None
    return found


def referrers_first(paths: Mapping[str, Registered]) -> list[str]:
    """Return the paths in an order in which none comes after a path that it refers to."""
    order: dict[str, None] = {}

    def visit(path: str) -> None:
        pending = [(path, False)]
        while pending:
            each, done = pending.pop()
            if done:
                order[each] = None
            elif each not in seen:
                seen.add(each)
                pending.append((each, True))
                pending += [(ref, False) for ref in paths[each].references if ref in paths]

    seen: set[str] = set()
    for path in sorted(paths):
        visit(path)
    return list(reversed(order))
