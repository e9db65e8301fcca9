"""A Nix profile: generations of one thing, each a garbage collection root, one of them current.

`LINK` leads to `LINK-N-link`, which leads to the store path of generation N (nix-env(1)). Reading
is reading symlinks. Generations are made and selected by nix-env, which locks the profile and
registers the roots; it syncs nothing, so that is done here after it.
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
    """The profile behind `link`; a store's profile may live anywhere.

    What is there and is no such link counts as not there when it is read; `damages` names it.
    """

    def __init__(self, store: Store, link: Path) -> None:
        self._store = store
        self.link = link
        self._pattern = re.compile(rf"{re.escape(link.name)}-([0-9]+)-link")

    def current_number(self) -> int | None:
        """The number of the selected generation, also if that generation is lost."""
        match = self._pattern.fullmatch((_target(self.link) or "").rpartition("/")[2])
        return int(match[1]) if match else None

    def system(self, number: int) -> StorePath | None:
        return _system(self._generation_link(number))

    def current(self) -> StorePath | None:
        number = self.current_number()
        return self.system(number) if number is not None else None

    def generations(self) -> list[Generation]:
        """By number."""
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
        """What is wrong with the profile: files that are not what nix-env has made, or are lost."""
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
        """The number that `set` will give, if nobody else changes the profile meanwhile."""
        made = self.generations()
        if not made:
            return 1
        return made[-1].number + (made[-1].system != system)

    def set(self, system: StorePath) -> int:
        """Make a system the current one; the newest generation is taken again if it is that one.

        Returns the generation's number. The generation is on disk then, with its root.
        """
        files.make_directory(self.link.parent)
        self._nix_env("--set", system.text)
        number = self.current_number()
        if number is None:
            raise StoreError(f"nix-env has made no generation of {self.link}")
        self._store.sync_roots()
        return number

    def switch(self, number: int) -> None:
        """Select a generation; that it is selected is on disk then."""
        self._nix_env("--switch-generation", str(number))

    def delete(self, numbers: Iterable[int]) -> None:
        """Delete generations, but never the current one."""
        current = self.current_number()
        for number in numbers:
            if number != current:
                files.remove(self._generation_link(number), durable=False)
        files.sync_directory(self.link.parent)

    def forget(self) -> None:
        """Delete all of it; what it held is up to the other roots."""
        if not self.link.parent.is_dir():
            return
        lock = self.link.with_name(f"{self.link.name}.lock")
        # The selection goes first: a generation that nobody selects is only in the way.
        for file in (self.link, *(file for _, file in self._links()), lock):
            files.remove(file, durable=False)
        files.sync_directory(self.link.parent)
        try:
            self.link.parent.rmdir()
        except OSError as error:
            if error.errno != errno.ENOTEMPTY:  # somebody has put a file there
                raise

    def _links(self) -> list[tuple[int, Path]]:
        """Whatever has the name of a generation."""
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
    """Where a symlink leads, None if there is no such or it cannot be read."""
    try:
        return str(link.readlink())
    except OSError:
        return None


def _system(link: Path) -> StorePath | None:
    """The store path that a generation's link leads to."""
    try:
        return StorePath.from_arg(_target(link) or "")
    except StoreError:
        return None
