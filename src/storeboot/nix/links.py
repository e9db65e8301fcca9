"""Follows links in a store that may be below another root, as a machine would follow them.

On the machine, `/nix/store/…` is its store; here the same text can be another store's path, or
nobody's. So each step of a path is looked up below the store's own directory.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

STORE_DIR = "/nix/store"
_STORE = ("nix", "store")
MAX_LINKS = 40  # as many as Linux follows in one path (include/linux/namei.h, MAXSYMLINKS)


@dataclass(frozen=True, slots=True)
class Traced:
    """Where a path leads: a place of the store, or why it leads to none."""

    place: Path | None  # physical, and no link
    fault: str = ""  # to be read after the name of what was looked for
    missing: bool = False  # nothing is wrong, except that the file does not exist


def trace(directory: Path, path: str) -> Traced:
    """Follow a logical path below `/nix/store`, whose files are in `directory`."""
    pending = path.split("/")
    done: list[str] = []
    links = 0
    while pending:
        step = pending.pop(0)
        if step in ("", "."):
            continue
        if step == "..":
            done = done[:-1]
            continue
        done.append(step)
        if not _is_on_the_way(done):
            return Traced(None, f"leads out of {STORE_DIR}, to {_join(done)}")
        if len(done) <= len(_STORE):
            continue
        try:
            target = _target(directory.joinpath(*done[len(_STORE) :]))
        except (FileNotFoundError, NotADirectoryError):
            return _missing(_join(done), links)
        except (OSError, ValueError) as error:
            return Traced(None, f"leads to {_join(done)}, which cannot be read: {_words(error)}")
        if target is None:
            continue
        links += 1
        if links > MAX_LINKS:
            return Traced(None, f"goes round in a circle, through {_join(done)}")
        done = [] if target.startswith("/") else done[:-1]
        pending = [*target.split("/"), *pending]
    if len(done) <= len(_STORE):
        return Traced(None, f"leads out of {STORE_DIR}, to {_join(done)}")
    return Traced(directory.joinpath(*done[len(_STORE) :]))


def reach_store(path: str, is_store: Callable[[str], str | None]) -> Traced | str:
    """Follow links on this machine until they lead into a store; return the logical path there.

    `is_store` returns the logical form of a path in a store, or None for any other path.
    """
    try:
        pending = str(Path(path).absolute()).split("/")
    except FileNotFoundError:  # of getcwd(3), which an absolute path does not need
        return Traced(None, "is relative to a directory that does not exist any more")
    done: list[str] = []
    links = 0
    while True:
        logical = is_store(_join([*done, *pending]))
        if logical is not None:
            return logical
        while pending and pending[0] in ("", "."):
            pending.pop(0)
        if not pending:
            return Traced(None, f"leads to {_join(done)}, which is not in a store")
        step = pending.pop(0)
        if step == "..":
            done = done[:-1]
            continue
        place = Path(_join([*done, step]))
        try:
            target = _target(place)
        except (FileNotFoundError, NotADirectoryError):
            return _missing(str(place), links)
        except (OSError, ValueError) as error:
            return Traced(None, f"leads to {place}, which cannot be read: {_words(error)}")
        if target is None:
            done.append(step)
            continue
        links += 1
        if links > MAX_LINKS:
            return Traced(None, f"goes round in a circle, through {place}")
        done = [] if target.startswith("/") else done
        pending = [*target.split("/"), *pending]


def _missing(path: str, links: int) -> Traced:
    if links:
        return Traced(None, f"leads to {path}, which does not exist")
    return Traced(None, "does not exist", missing=True)


def _target(place: Path) -> str | None:
    """Return where a link leads, or None if `place` is something else that exists."""
    try:
        return str(place.readlink())
    except OSError as error:
        if not place.exists():
            raise FileNotFoundError(str(place)) from error
        return None


def _is_on_the_way(steps: list[str]) -> bool:
    head = tuple(steps[: len(_STORE)])
    return head == _STORE[: len(head)]


def _join(steps: list[str]) -> str:
    return "/" + "/".join(step for step in steps if step)


def _words(error: OSError | ValueError) -> str:
    return error.strerror or str(error) if isinstance(error, OSError) else str(error)
