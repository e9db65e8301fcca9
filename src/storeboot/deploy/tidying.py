"""Tidies the state directory: removes half-written files, restricts permissions, names strays."""

from __future__ import annotations

import os
import re
from pathlib import Path

import structlog

from storeboot import files
from storeboot.deploy.host_profiles import HOST

log = structlog.get_logger()
# What belongs into directories with fixed kinds of names; anything else there is left alone.
_OURS = {
    "views": re.compile(r"[0-9a-f]{32}\.json"),
    "roots": re.compile(r"[0-9a-f]{32}"),
    "initrds": re.compile(r"[0-9a-f]{32}\.(img|json)"),
    "packs": re.compile(r"[0-9a-f]{32}\.(squashfs|json|hot)"),
    "hot": re.compile(r"[0-9a-f]{32}\.json"),
    "databases": re.compile(r"[0-9a-f]{32}\.gz"),
    "profiles": HOST,
}
_DIRECTORIES = {*_OURS, "reports", "locks", "ssh"}
# The names at the top. dnsmasq's user also reads dhcp, so its modes are not changed here.
_TOP = re.compile(
    r"(server\.key|lock|rollouts|serving|[a-z]+\.json|storeboot\.sqlite|dhcp|lost\+found|\.)"
)


def tidy(state: Path) -> None:
    """Tidy the state directory at the start of a server.

    Removes what killed processes have left half-written, removes permissions that older versions
    gave, and logs what does not belong here.
    """
    sweep(state)
    for stray in _strays(state):
        log.warning("state.stray", file=str(stray), reason="it is none of ours, and left alone")
    _restrict(state)


def sweep(state: Path) -> list[Path]:
    """Remove what killed processes have left half-written; return the files that were removed."""
    places = [state, *(state / name for name in sorted(_DIRECTORIES))]
    reports = state / "reports"
    boots = sorted(reports.iterdir()) if reports.is_dir() else []
    swept = [left for place in (*places, *boots) for left in files.sweep(place)]
    for left in swept:
        log.info("state.swept", file=str(left))
    return swept


def restrict_database(state: Path) -> None:
    """Remove permissions to the database from others.

    SQLite creates its file as the umask says, and the files beside it with the same mode.
    """
    for suffix in ("", "-wal", "-shm"):
        files.restrict(state / f"storeboot.sqlite{suffix}", files.FILE_MODE)


def _strays(state: Path) -> list[Path]:
    """Return the files and directories that are not storeboot's, where every name has a meaning."""
    found = []
    for name, ours in _OURS.items():
        directory = state / name
        for file in directory.iterdir() if directory.is_dir() else ():
            is_right = name != "profiles" or file.is_dir()
            if not (ours.fullmatch(file.name) and is_right) and not files.is_partial(file):
                found.append(file)
    return sorted(found)


def _restrict(state: Path) -> None:
    """Restrict the permissions of everything that storeboot has put here.

    The directory itself is left alone if it contains anything else, because then others use it too.
    """
    if all(_TOP.match(place.name) or place.name in _DIRECTORIES for place in state.iterdir()):
        files.restrict(state, files.DIRECTORY_MODE)
    for name in sorted(_DIRECTORIES):
        for place, _, names in os.walk(state / name):
            files.restrict(Path(place), files.DIRECTORY_MODE)
            for each in names:
                if not Path(place, each).is_symlink():
                    files.restrict(Path(place, each), files.FILE_MODE)
    for file in state.iterdir():
        if _TOP.match(file.name) and file.is_file() and not file.is_symlink():
            files.restrict(file, files.FILE_MODE)
