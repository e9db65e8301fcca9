"""What is read of a store in which not everything can be read."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest

from storeboot.deploy.state import make_state_directory
from storeboot.nfs.handle import HandleCodec, MountToken
from storeboot.nfs.index import Index, Kind, Node
from storeboot.nfs.status import NfsError, Status
from storeboot.nfs.views import Catalogue, NotLoadedError, View, view_id
from storeboot.nfs.walk import Entry, Walk
from storeboot.nix import beneath
from storeboot.nix.store import Store
from storeboot.serve.nfs.store_tree import StoreTree

NAME = b"0" * 32 + b"-package"
OTHER = b"1" * 32 + b"-other"
ID = bytes(16)
NOBODY = 65534


@pytest.fixture
def root() -> Iterator[Path]:
    """Everybody may go to it, unlike pytest's own."""
    with TemporaryDirectory() as made:
        Path(made).chmod(0o755)
        yield Path(made)


@pytest.fixture(params=["openat2", "step by step"])
def tree(root: Path, request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> StoreTree:
    if request.param == "step by step":
        monkeypatch.setattr(beneath, "_kernel_resolves", lambda: False)
    store = Store(root)
    package = store.directory / os.fsdecode(NAME)
    for place in ("bin", "closed/below", "share"):
        (package / place).mkdir(parents=True)
    (package / "bin" / "tool").write_text("tool")
    (package / "closed" / "file").write_text("file")
    (package / "link").symlink_to("bin/tool")
    (package / os.fsdecode(b"caf\xe9")).write_text("odd")
    (store.directory / os.fsdecode(OTHER)).mkdir()
    return StoreTree(store, make_state_directory(root / "state"))


@contextmanager
def as_nobody() -> Iterator[None]:
    """Root may read everything, so it is put aside for a moment."""
    user = os.geteuid()
    if user == 0:
        os.seteuid(NOBODY)
    try:
        yield
    finally:
        os.seteuid(user)


def index_of(tree: StoreTree, name: bytes = NAME) -> Index:
    with as_nobody():
        index = tree.load(NotLoadedError(ID, name))
    assert isinstance(index, Index)
    return index


def place(root: Path, relative: str = "") -> Path:
    return Store(root).directory / os.fsdecode(NAME) / relative


def test_everything_is_read_by_its_bytes(tree: StoreTree) -> None:
    index = index_of(tree)
    assert index.names(b"") == (b"bin", b"caf\xe9", b"closed", b"link", b"share")
    assert index.names(b"closed") == (b"below", b"file")
    link = index.get(b"link")
    assert link is not None
    assert (link.kind, link.target) == (Kind.SYMLINK, b"bin/tool")
    assert not index.broken


def walk_of(index: Index) -> tuple[Walk, Entry]:
    """Everything that is asked for is there; the store path's own entry."""
    catalogue = Catalogue(HandleCodec(bytes(32)))
    catalogue.add_view(View(ID, {NAME: Node(Kind.DIRECTORY, 1)}))
    catalogue.add_index(NAME, index)
    token = catalogue.codec.encode_token(MountToken(ID, bytes(8)))
    walk = Walk(catalogue)
    return walk, walk.lookup(walk.mount(token.encode()), NAME)


def test_a_directory_that_cannot_be_read_fails_alone(tree: StoreTree, root: Path) -> None:
    place(root, "closed").chmod(0)
    index = index_of(tree)
    assert index.broken == {b"closed"}
    walk, top = walk_of(index)
    closed = walk.lookup(top, b"closed")
    assert closed.node.kind is Kind.DIRECTORY
    for ask in (lambda: walk.names(closed), lambda: walk.lookup(closed, b"file")):
        with pytest.raises(NfsError) as failed:
            ask()
        assert failed.value.status is Status.IO
    assert walk.met_broken
    assert walk.lookup(walk.lookup(top, b"bin"), b"tool").node.size == 4


def test_a_directory_swapped_for_a_link_is_not_entered(
    tree: StoreTree, root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Between the look at it and the look into it."""
    look = os.stat
    (root / "outside").mkdir()
    (root / "outside" / "secret").write_text("secret")

    def swap(path: bytes, *, dir_fd: int, follow_symlinks: bool) -> os.stat_result:
        found = look(path, dir_fd=dir_fd, follow_symlinks=follow_symlinks)
        if path == b"share":
            place(root, "share").rename(root / "share")
            place(root, "share").symlink_to(root / "outside")
        return found

    monkeypatch.setattr(os, "stat", swap)
    index = tree.load(NotLoadedError(ID, NAME))
    assert isinstance(index, Index)
    assert index.broken == {b"share"}
    assert index.get(b"share/secret") is None


def test_a_place_that_cannot_be_looked_at_fails_alone(tree: StoreTree, root: Path) -> None:
    """A directory whose names can be read, and nothing else."""
    place(root, "closed").chmod(0o444)
    index = index_of(tree)
    assert index.broken == {b"closed/below", b"closed/file"}
    walk, top = walk_of(index)
    closed = walk.lookup(top, b"closed")
    assert walk.names(closed) == ()
    with pytest.raises(NfsError) as failed:
        walk.lookup(closed, b"file")
    assert failed.value.status is Status.IO
    with pytest.raises(NfsError) as absent:
        walk.lookup(closed, b"nothing")
    assert absent.value.status is Status.NOENT


def test_want_of_descriptors_is_no_fault_of_the_directory(
    tree: StoreTree, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_arguments: object) -> list[str]:
        raise OSError(24, "Too many open files")

    monkeypatch.setattr(os, "listdir", refuse)
    with pytest.raises(OSError, match="Too many"):
        tree.load(NotLoadedError(ID, NAME))


def test_a_store_path_that_is_gone_leaves_the_others_of_its_view(
    tree: StoreTree, root: Path
) -> None:
    identity = describe_view(root / "state", NAME, OTHER)
    other = Store(root).directory / os.fsdecode(OTHER)
    other.rmdir()
    view = tree.load(NotLoadedError(identity))
    assert isinstance(view, View)
    assert view.names == (NAME,)
    catalogue = Catalogue(HandleCodec(bytes(32)))
    catalogue.add_view(view)
    token = catalogue.codec.encode_token(MountToken(identity, bytes(8)))
    walk = Walk(catalogue)
    mounted = walk.mount(token.encode())
    assert walk.lookup(mounted, NAME).node.kind is Kind.DIRECTORY
    with pytest.raises(NotLoadedError) as missing:
        walk.lookup(mounted, OTHER)
    assert tree.load(missing.value) is None
    with pytest.raises(NfsError) as failed:
        Walk(catalogue, missing.value.lack()).lookup(mounted, OTHER)
    assert failed.value.status is Status.STALE
    # It comes back: from a backup, or from the server that this one takes over from.
    other.mkdir()
    index = tree.load(missing.value)
    assert isinstance(index, Index)
    catalogue.add_index(OTHER, index)
    found = walk.lookup(mounted, OTHER)
    assert found.node.kind is Kind.DIRECTORY
    assert walk.resolve(walk.raw(found)) == found


def describe_view(state: Path, *names: bytes) -> bytes:
    """Write the description of a view that boots the first of these paths; returns its id."""
    paths = [f"/nix/store/{os.fsdecode(name)}" for name in names]
    identity = view_id(paths[:1])
    registration = "".join(f"{path}\n{'0' * 64}\n1\n\n0\n" for path in paths)
    document = {"toplevels": paths[:1], "paths": paths, "registration": registration}
    (state / "views" / f"{identity.hex()}.json").write_text(json.dumps(document))
    return identity
