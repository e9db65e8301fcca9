"""A Nix profile: generations of one thing, each a garbage collection root, one of them current.

`LINK` leads to `LINK-N-link`, which leads to the store path of generation N (nix-env(1)). Reading
is reading symlinks; changes go through nix-env, which locks the profile and registers the roots.
"""

from __future__ import annotations

import re
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from storeboot.errors import StoreError
from storeboot.nix.store import Store, StorePath
from storeboot.process import run


@dataclass(frozen=True, slots=True)
class Generation:
    """One entry of a profile."""

    number: int
    system: StorePath
    made_at: float  # seconds since 1970, UTC
    current: bool


class Profile:
    """The profile behind `link`; a store's profile may live anywhere."""

    def __init__(self, store: Store, link: Path) -> None:
        self._store = store
        self.link = link
        self._pattern = re.compile(rf"{re.escape(link.name)}-([0-9]+)-link")

    def current_number(self) -> int | None:
        try:
            match = self._pattern.fullmatch(self.link.readlink().name)
        except FileNotFoundError:
            return None
        return int(match[1]) if match else None

    def system(self, number: int) -> StorePath | None:
        try:
            return StorePath(str(self._generation_link(number).readlink()))
        except FileNotFoundError:
            return None

    def current(self) -> StorePath | None:
        number = self.current_number()
        return self.system(number) if number is not None else None

    def generations(self) -> list[Generation]:
        """By number."""
        current = self.current_number()
        found = []
        for file in self.link.parent.iterdir() if self.link.parent.is_dir() else ():
            match = self._pattern.fullmatch(file.name)
            system = self.system(int(match[1])) if match else None
            if match and system is not None:
                number = int(match[1])
                made_at = file.lstat().st_mtime
                found.append(Generation(number, system, made_at, number == current))
        return sorted(found, key=lambda each: each.number)

    def next_number(self, system: StorePath) -> int:
        """The number that `set` will give, if nobody else changes the profile meanwhile."""
        made = self.generations()
        if not made:
            return 1
        return made[-1].number + (made[-1].system != system)

    def set(self, system: StorePath) -> int:
        """Make a system the current one; the newest generation is taken again if it is that one.

        Returns the generation's number.
        """
        self.link.parent.mkdir(parents=True, exist_ok=True)
        self._nix_env("--set", system.text)
        number = self.current_number()
        if number is None:
            raise StoreError(f"nix-env has made no generation of {self.link}")
        return number

    def switch(self, number: int) -> None:
        self._nix_env("--switch-generation", str(number))

    def delete(self, numbers: list[int]) -> None:
        """Never the current one."""
        if numbers:
            self._nix_env("--delete-generations", *map(str, numbers))

    def forget(self) -> None:
        """All of it; what it held is up to the other roots."""
        for file in (self.link, *self.link.parent.glob(f"{self.link.name}-*-link")):
            file.unlink(missing_ok=True)
        self.link.with_name(f"{self.link.name}.lock").unlink(missing_ok=True)
        with suppress(FileNotFoundError):
            self.link.parent.rmdir()

    def _generation_link(self, number: int) -> Path:
        return self.link.with_name(f"{self.link.name}-{number}-link")

    def _nix_env(self, *words: str) -> None:
        run(["nix-env", *self._store.options(), "--profile", self.link, *words])
