"""A store path with everything that is hard on a client, and what is true of it."""

from __future__ import annotations

import os
import shutil
import stat
from collections.abc import Iterator
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path

NAME = b"d" * 32 + b"-everything"
MANY = 50_000
LONG = b"n" * 255
ODD = b"caf\xe9 \xff\xfe"
TARGET = b"t" * 250 + b"/"
SPARSE_SIZE = 5 << 30
SAMPLES = (0, 1 << 20, (4 << 30) - (1 << 20), 4 << 30, SPARSE_SIZE - (1 << 20))  # bytes, of 1 MiB


@dataclass(frozen=True)
class Programs:
    """A static and a dynamic program that the guest can run."""

    busybox: Path
    loader: Path
    libc: Path
    true: Path


def make_tree(directory: Path, programs: Programs) -> Path:
    """`directory`/NAME, as Nix would leave it: no write bits, and times that say nothing."""
    top = directory / os.fsdecode(NAME)
    small, big, many = top / "small", top / "big", top / "many"
    for each in (small / "deep" / "deeper" / "deepest", big, many):
        each.mkdir(parents=True)
    (small / "text").write_text("text\n")
    (small / "empty").touch()
    (small / "link").symlink_to("text")
    (small / "dangling").symlink_to("../../nowhere")
    (small / "long-link").symlink_to(os.fsdecode((TARGET * 17)[:4095]))
    (small / os.fsdecode(LONG)).write_text("long name\n")
    (small / os.fsdecode(ODD)).write_text("odd name\n")
    (small / "deep" / "deeper" / "deepest" / "file").write_text("deep\n")
    for number in range(200):
        (small / "deep" / f"file{number}").write_bytes(b"%d\n" % number * number)
    os.link(small / "text", small / "deep" / "same-as-text")  # as an optimised store has them
    for source, name in ((programs.busybox, "busybox"), (programs.loader, "ld.so"),
                         (programs.libc, "libc.so.6"), (programs.true, "true")):  # fmt: skip
        shutil.copy(source, small / name)
        (small / name).chmod(0o555)
    (big / "eight").write_bytes(b"".join(sha256(b"%d" % n).digest() for n in range(1 << 18)))
    with (big / "sparse").open("wb") as stream:
        for offset in SAMPLES[1:]:
            stream.seek(offset)
            stream.write(sha256(b"%d" % offset).digest() * 100)
        stream.truncate(SPARSE_SIZE)
    for number in range(MANY):
        os.link(small / "empty", many / f"name-{number}")
    for path in _everything(top):
        if not path.is_symlink():
            executable = path.is_dir() or path.stat().st_mode & 0o100
            path.chmod(0o555 if executable else 0o444)
    return top


def _everything(top: Path) -> Iterator[Path]:
    yield top
    for directory, names, files in os.walk(top):
        for name in (*names, *files):
            yield Path(directory) / name


def names(top: Path) -> str:
    """Of `find . -print0 | sort -z`."""
    relative = [b"." + os.fsencode(path)[len(os.fsencode(top)) :] for path in _everything(top)]
    return _sum(b"".join(name + b"\0" for name in sorted(relative)))


def attributes(top: Path) -> str:
    """Of `find . -exec stat -c '%f %s %u %Y %n' {} + | sort` without what is in `many`."""
    lines = []
    for path in _everything(top):
        if path.parent.name == "many":
            continue
        found, name = path.lstat(), b"." + os.fsencode(path)[len(os.fsencode(top)) :]
        mode = found.st_mode if not stat.S_ISLNK(found.st_mode) else stat.S_IFLNK | 0o777
        size = 4096 if stat.S_ISDIR(mode) else found.st_size
        lines.append(b"%x %d 0 1 %s\n" % (mode, size, name))
    return _sum(b"".join(sorted(lines)))


def contents(top: Path) -> str:
    """Of `find . -type f -exec sha256sum {} + | sort -k2` in `small`."""
    lines = []
    for path in _everything(top / "small"):
        if path.is_file() and not path.is_symlink():
            name = b"." + os.fsencode(path)[len(os.fsencode(top / "small")) :]
            lines.append((name, b"%s  %s\n" % (_sum(path.read_bytes()).encode(), name)))
    return _sum(b"".join(line for _, line in sorted(lines)))


def sample(top: Path, offset: int) -> str:
    with (top / "big" / "sparse").open("rb") as stream:
        stream.seek(offset)
        return _sum(stream.read(1 << 20))


def eight(top: Path) -> str:
    return _sum((top / "big" / "eight").read_bytes())


def _sum(data: bytes) -> str:
    return sha256(data).hexdigest()
