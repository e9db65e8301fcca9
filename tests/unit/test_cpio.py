from __future__ import annotations

from pathlib import Path

from storeboot.initrd.cpio import (
    archive,
    character_device,
    directory,
    regular,
    symlink,
    with_parents,
)
from storeboot.process import run

MEMBERS = with_parents(
    [
        regular("a/b/file", b"hello", 0o755),
        symlink("a/link", "b/file"),
        character_device("dev/null", 0o666, 1, 3),
        directory("empty"),
    ]
)


def test_cpio_itself_lists_and_extracts_it(tmp_path: Path) -> None:
    data = b"".join(archive(MEMBERS))
    names = run(["cpio", "-t", "--quiet"], stdin=data).split()
    assert names == ["a", "a/b", "a/b/file", "a/link", "dev", "dev/null", "empty"]
    run(["cpio", "-i", "-d", "--quiet", "a/*"], cwd=tmp_path, stdin=data)
    assert (tmp_path / "a/link").read_text() == "hello"
    assert (tmp_path / "a/b/file").stat().st_mode & 0o777 == 0o755


def test_the_same_members_give_the_same_bytes() -> None:
    assert b"".join(archive(MEMBERS)) == b"".join(archive(with_parents(reversed(MEMBERS))))
