"""Writes boot media: files to a directory, or a file system image for a stick."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Mapping
from pathlib import Path
from tempfile import TemporaryDirectory

from storeboot.files import publish, reported
from storeboot.process import run

_MTOOLS = "install mtools (on Debian: apt-get install mtools)"
_ROOM = 4 << 20  # bytes, in addition to the files


def write_files(place: Path, made: Mapping[str, bytes]) -> None:
    """Write files, given by their names, below the directory `place`."""
    with reported("cannot write boot media"):
        _write_below(place, made)


def write_image(place: Path, made: Mapping[str, bytes], progress: Callable[[str], None]) -> None:
    """Write an image to the file `place`, with FAT on all of it, which also suits sticks.

    The file gets its name when it is complete. `progress` is told if BIOS cannot start it.
    """
    with reported("cannot write boot media"), publish(place, 0o644) as partial:
        _write_file_system(partial, made)
        if "syslinux.cfg" in made and shutil.which("syslinux") is not None:
            run(["syslinux", "--install", partial])
        elif "syslinux.cfg" in made:
            progress("SYSLINUX is not installed here: the image starts with UEFI only")


def _write_file_system(image: Path, made: Mapping[str, bytes]) -> None:
    size = sum(map(len, made.values())) + _ROOM
    with TemporaryDirectory(prefix="storeboot-") as directory:
        _write_below(Path(directory), made)
        with image.open("wb") as stream:
            stream.truncate(size + -size % (1 << 20))
        run(["mformat", "-i", image, "-v", "STOREBOOT", "::"], hint=_MTOOLS)
        parts = sorted(Path(directory).iterdir())
        run(["mcopy", "-i", image, "-s", *parts, "::"], hint=_MTOOLS)


def _write_below(place: Path, made: Mapping[str, bytes]) -> None:
    for name, data in made.items():
        goal = place / name
        goal.parent.mkdir(parents=True, exist_ok=True)
        goal.write_bytes(data)
