"""A Nix profile: generations of one thing, each a garbage collection root; one is current.

`LINK` leads to `LINK-N-link`, which leads to the store path of generation N (nix-env(1)). Reading a
profile is reading symlinks. nix-env makes and selects generations: it locks the profile and
registers the roots. It syncs nothing, so that is done here after it.
"""

from __future__ import annotations

import errno
import re
from collections.abc import Iterable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from storeboot import files
from storeboot.errors import StoreError
from storeboot.nix.store import SECONDS, Store, StorePath
from storeboot.process import run


@dataclass(frozen=True, slots=True)
class Generation:
    """One entry of a profile."""

    number: int
    system: StorePath
    made_at: float  # seconds since 1970, UTC
    current: bool


class Profile:
    """The profile behind `link`; a store's profile may be anywhere.

    When it is read, an entry that is not such a link counts as missing; `damages` names it.
    """

    def __init__(self, store: Store, link: Path) -> None:
        self._store = store
        self.link = link
        self._pattern = re.compile(rf"{re.escape(link.name)}-([0-9]+)-link")

    def current_number(self) -> int | None:
        """Return the number of the selected generation, or None, even if that generation is
        lost."""
        match = self._pattern.fullmatch((_target(self.link) or "").rpartition("/")[2])
        return int(match[1]) if match else None

    def system(self, number: int) -> StorePath | None:
        return _system(self._generation_link(number))

    def current(self) -> StorePath | None:
        number = self.current_number()
        return self.system(number) if number is not None else None

    def generations(self) -> list[Generation]:
        """Return the generations, by number."""
        current = self.current_number()
        found = []
        for number, file in self._links():
            system = _system(file)
            if system is not None:
                with suppress(FileNotFoundError):
                    made_at = file.lstat().st_mtime
                    found.append(Generation(number, system, made_at, number == current))
        return sorted(found, key=lambda each: each.number)

    def damages(self) -> list[str]:
        """Return what is wrong with the profile: files that nix-env has not made so, or that are
        lost."""
        if self.link.parent.exists() and not self.link.parent.is_dir():
            return [f"{self.link.parent} is not a directory"]
        found = [
            f"{file} is not a link to a store path"
            for _, file in sorted(self._links())
            if _system(file) is None
        ]
        number = self.current_number()
        if number is not None and not self._generation_link(number).is_symlink():
            name = self._generation_link(number).name
            found.append(f"{self.link} leads to {name}, which is not there")
        elif number is None and (self.link.is_symlink() or self.link.exists()):
            found.append(f"{self.link} is not a link to a generation")
        return found

    def next_number(self, system: StorePath) -> int:
        """Return the number that `set` will use, unless another process changes the profile
        first."""
        made = self.generations()
        if not made:
            return 1
        return made[-1].number + (made[-1].system != system)

    def set(self, system: StorePath) -> int:
        """Make a system the current one; reuse the newest generation if it is that system.

        Returns the generation's number. On return the generation and its root are on disk.
        """
        files.make_directory(self.link.parent)
        self._nix_env("--set", system.text)
        number = self.current_number()
        if number is None:
            raise StoreError(f"nix-env has made no generation of {self.link}")
        self._store.sync_roots()
        return number

    def switch(self, number: int) -> None:
        """Select a generation; on return the selection is on disk."""
        self._nix_env("--switch-generation", str(number))

    def delete(self, numbers: Iterable[int]) -> None:
        """Delete generations, but never the current one."""
        current = self.current_number()
        for number in numbers:
            if number != current:
                files.remove(self._generation_link(number), durable=False)
        files.sync_directory(self.link.parent)

    def forget(self) -> None:
        """Delete the whole profile. What it kept is left to the other roots."""
        if not self.link.parent.is_dir():
            return
        lock = self.link.with_name(f"{self.link.name}.lock")
        # The selection goes first: a generation that is not selected does no harm.
        for file in (self.link, *(file for _, file in self._links()), lock):
            files.remove(file, durable=False)
        files.sync_directory(self.link.parent)
        try:
            self.link.parent.rmdir()
        except OSError as error:
            if error.errno != errno.ENOTEMPTY:  # somebody has put a file there
                raise

    def _links(self) -> list[tuple[int, Path]]:
        """Return everything that is named like a generation."""
        found = self.link.parent.iterdir() if self.link.parent.is_dir() else ()
        matches = ((self._pattern.fullmatch(file.name), file) for file in found)
        return [(int(match[1]), file) for match, file in matches if match]

    def _generation_link(self, number: int) -> Path:
        return self.link.with_name(f"{self.link.name}-{number}-link")

    def _nix_env(self, *words: str) -> None:
        run(
            ["nix-env", *self._store.options(), "--profile", self.link, *words],
            seconds=SECONDS,
        )
        files.sync_directory(self.link.parent)


def _target(link: Path) -> str | None:
    """Return where a symlink leads, or None if there is none or it cannot be read."""
    try:
        return str(link.readlink())
    except OSError:
        return None


def _system(link: Path) -> StorePath | None:
    """Return the store path that a generation's link leads to, or None."""
    try:
        return StorePath.from_arg(_target(link) or "")
    except StoreError:
        return None
