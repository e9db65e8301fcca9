"""Packs, read back by the tools of the file system that they are."""

from __future__ import annotations

import os
import tarfile
from pathlib import Path

import pytest

from integration.stores import add
from storeboot.errors import CommandError
from storeboot.nfs.views import flat_name
from storeboot.nix.store import Store, StorePath
from storeboot.pack import builder
from storeboot.pack.builder import Pack, build
from storeboot.process import run

VIEW = "5" * 32
ODD = b"\xff\xfe odd \n name"
LONG = b"l" * 255
HUGE = 10 << 30  # bytes, of which none is stored
METACOPY = "SCHILY.xattr.trusted.overlay.metacopy"
REDIRECT = "SCHILY.xattr.trusted.overlay.redirect"
OPAQUE = "SCHILY.xattr.trusted.overlay.opaque"


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store(tmp_path / "root")


@pytest.fixture
def path(store: Store, tmp_path: Path) -> StorePath:
    """A store path with all that a store may have."""
    tree = tmp_path / "odd-1"
    below = tree / "deep" / "er"
    below.mkdir(parents=True)
    (tree / "empty").touch()
    (tree / "tool").write_bytes(b"#!/bin/sh\necho tool\n" * 1000)
    (tree / "tool").chmod(0o755)
    (tree / "twin").hardlink_to(tree / "tool")
    (tree / "link").symlink_to("../" + "far/" * 40 + "away")
    for name in (ODD, LONG):
        (below / os.fsdecode(name)).write_bytes(name * 3000)
    (tree / "small").write_bytes(b"x" * builder.INLINE)
    return add(store, tree)


def made(store: Store, path: StorePath, cache: Path, *hot: bytes) -> Pack:
    base = path.base_name.encode()
    return build(store, VIEW, (path.text,), frozenset(base + b"/" + name for name in hot), cache)


def members(pack: Pack, directory: Path) -> dict[str, tarfile.TarInfo]:
    archive = directory / "back.tar"
    run(["sh", "-c", 'sqfs2tar "$1" >"$2"', "sh", pack.path, archive])
    with tarfile.open(archive, errors="surrogateescape") as opened:
        every = {member.name: member for member in opened}
    trial = every.pop(builder.TRIAL.decode())
    assert trial.size == len(builder.TRIAL_DATA)
    assert trial.pax_headers[REDIRECT] == builder.TRIAL_REDIRECT.decode()
    return {name.partition("/")[2]: member for name, member in every.items()}


def test_every_inode_is_there_as_the_store_has_it(
    store: Store, path: StorePath, tmp_path: Path
) -> None:
    pack = made(store, path, tmp_path / "cache", b"tool")
    found = members(pack, tmp_path)
    root = store.physical(path)
    names = {str(place.relative_to(root)) for place in root.rglob("*")}
    assert {name for name in found if name} == names
    assert (pack.inodes, pack.hot_files, pack.hot_bytes) == (len(names) + 1, 1, 20_000)
    for name, member in found.items():
        place = root / name
        state = place.lstat()
        assert (member.mode, member.mtime) == (state.st_mode & 0o7777, state.st_mtime), name
        assert (member.uid, member.gid) == (0, 0)
        headers = member.pax_headers
        if member.issym():
            assert member.linkname == str(place.readlink())
        elif member.isdir():
            assert headers[OPAQUE] == "y"
        else:
            assert member.size == state.st_size, name
            stub = name not in ("tool", "empty", "small")
            assert (METACOPY in headers) is stub, name
            if stub:
                flat = flat_name(path.base_name.encode(), os.fsencode(name)).decode()
                assert headers[REDIRECT] == f"/.flat/{flat}"


def test_a_pack_depends_on_nothing_but_its_inputs(
    store: Store, path: StorePath, tmp_path: Path
) -> None:
    one, two = (made(store, path, tmp_path / name, b"tool") for name in ("one", "two"))
    assert (one.sha256, one.path.name) == (two.sha256, two.path.name)
    again = made(store, path, tmp_path / "one", b"tool")
    assert again == one
    assert made(store, path, tmp_path / "one").path.name != one.path.name
    assert not list((tmp_path / "one").glob("*.partial"))


def test_a_pack_is_found_by_name_until_two_newer_ones_are_there(
    store: Store, path: StorePath, tmp_path: Path
) -> None:
    cache = tmp_path / "cache"
    hot: list[tuple[bytes, ...]] = [(b"tool",), (), (b"twin",)]
    packs = []
    for number, names in enumerate(hot):
        packs.append(made(store, path, cache, *names))
        os.utime(packs[-1].path.with_suffix(".json"), (number, number))
    packs.append(made(store, path, cache, b"tool", b"twin"))
    found = [builder.find(cache, VIEW, pack.path.name) is not None for pack in packs]
    assert found == [False, False, True, True]
    base = path.base_name.encode()
    assert builder.hot_files(packs[3].path) == {base + b"/tool", base + b"/twin"}
    assert builder.find(cache, "6" * 32, packs[3].path.name) is None
    assert builder.find(cache, VIEW, "../cache/" + packs[3].path.name) is None


def test_stubs_cost_nothing(store: Store, tmp_path: Path) -> None:
    tree = tmp_path / "huge-1"
    tree.mkdir()
    with (tree / "file").open("wb") as stream:
        stream.truncate(64 << 20)
    path = add(store, tree)
    place = store.physical(path) / "file"
    place.chmod(0o644)
    with place.open("r+b") as stream:
        stream.truncate(HUGE)
    pack = made(store, path, tmp_path / "cache")
    state = run(["rdsquashfs", "--stat", f"{path.base_name}/file", pack.path])
    assert f"File size: {HUGE}\n" in state
    assert pack.size < 1 << 20


def test_a_missing_tool_is_named(
    store: Store, path: StorePath, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(builder, "_TAR2SQFS", ("tar2sqfs-nowhere",))
    with pytest.raises(CommandError, match="'tar2sqfs-nowhere' is not installed") as caught:
        made(store, path, tmp_path / "cache")
    assert "squashfs-tools-ng" in (caught.value.hint or "")


def test_a_store_path_that_vanishes_leaves_no_pack(
    store: Store, path: StorePath, tmp_path: Path
) -> None:
    gone = StorePath(f"/nix/store/{'0' * 32}-gone")
    with pytest.raises(OSError, match="gone"):
        build(store, VIEW, (path.text, gone.text), frozenset(), tmp_path / "cache")
    assert list((tmp_path / "cache").iterdir()) == []


@pytest.mark.long
@pytest.mark.timeout(300)
def test_a_hundred_thousand_inodes_make_a_small_pack(store: Store, tmp_path: Path) -> None:
    for number in range(10):
        tree = tmp_path / f"package-{number}"
        for directory in range(100):
            (tree / str(directory)).mkdir(parents=True)
            for file in range(100):
                (tree / str(directory) / f"file-{file}").write_bytes(b"%d" % file * 3000)
    paths = [add(store, tmp_path / f"package-{number}").text for number in range(10)]
    pack = build(store, VIEW, tuple(paths), frozenset(), tmp_path / "cache")
    assert pack.inodes > 100_000
    assert pack.size < 5 << 20
