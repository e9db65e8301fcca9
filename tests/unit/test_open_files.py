"""Files of the store that are kept open, and what is refused in a file's place."""

from __future__ import annotations

import os
import socket
import stat
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from storeboot.deploy.state import StateDirectory
from storeboot.nfs.xdr import FileSlice
from storeboot.nix import beneath
from storeboot.nix.store import Store
from storeboot.serve.nfs.open_files import OpenFiles
from storeboot.serve.nfs.store_tree import StoreTree

SIZE = 6
OUTSIDE = "secret"
assert len(OUTSIDE) == SIZE


@pytest.fixture
def store(tmp_path: Path) -> Store:
    made = Store(tmp_path)
    made.directory.mkdir(parents=True)
    return made


@pytest.fixture(params=["openat2", "step by step"])
def tree(
    store: Store, tmp_path: Path, request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch
) -> StoreTree:
    """As kernels open with openat2, and without."""
    if request.param == "step by step":
        monkeypatch.setattr(beneath, "_kernel_resolves", lambda: False)
    return StoreTree(store, StateDirectory(tmp_path / "state"))


def opens(tree: StoreTree, name: bytes, relative: bytes = b"", size: int = SIZE) -> bytes:
    """What is in a file; a hang ends the test."""
    threads = ThreadPoolExecutor(1)
    descriptor = threads.submit(tree.open, name, relative, size).result(10)
    try:
        return os.pread(descriptor, 100, 0)
    finally:
        os.close(descriptor)


def slice_of(number: int) -> FileSlice:
    return FileSlice(f"file{number}".encode(), b"", 0, 1, 1)


def descriptors() -> int:
    return len(os.listdir("/proc/self/fd"))  # noqa: PTH208


def test_the_oldest_are_closed_and_an_asked_for_one_is_always_right(
    store: Store, tree: StoreTree
) -> None:
    for number in range(10):
        (store.directory / f"file{number}").write_text(str(number))
    before = descriptors()
    files = OpenFiles(tree, limit=3)
    for number in [*range(10), 0, 5, 0]:
        assert os.pread(files.descriptor(slice_of(number)), 10, 0) == str(number).encode()
        assert files.has(slice_of(number))
    assert not files.has(slice_of(8))
    assert descriptors() == before + 3
    assert files.shrink()
    assert descriptors() == before + 1
    files.close()
    assert descriptors() == before
    assert not files.shrink()


def test_a_file_is_opened_by_its_path(store: Store, tree: StoreTree) -> None:
    deep = store.directory / "package" / "/".join(["d" * 200] * 30)
    at = os.open(store.directory, os.O_RDONLY)
    for step in deep.relative_to(store.directory).parts:  # longer than a path may be
        os.mkdir(step, dir_fd=at)
        below = os.open(step, os.O_RDONLY, dir_fd=at)
        os.close(at)
        at = below
    descriptor = os.open("file", os.O_WRONLY | os.O_CREAT, dir_fd=at)
    os.write(descriptor, b"inside")
    os.close(descriptor)
    os.close(at)
    relative = os.fsencode("/".join([*deep.relative_to(store.directory).parts[1:], "file"]))
    assert opens(tree, b"package", relative) == b"inside"


def fifo(place: Path) -> None:
    os.mkfifo(place)


def device(place: Path) -> None:
    os.mknod(place, stat.S_IFCHR | 0o666, os.makedev(1, 5))  # /dev/zero


def unix_socket(place: Path) -> None:
    with socket.socket(socket.AF_UNIX) as bound:
        bound.bind(str(place))


def link(place: Path) -> None:
    place.symlink_to(outside(place))


def outside(place: Path) -> Path:
    file = place.parents[3] / "outside"
    file.write_text(OUTSIDE)
    return file


@pytest.mark.parametrize("put", [fifo, device, unix_socket, link, Path.mkdir])
def test_nothing_but_a_regular_file_is_opened_and_nothing_is_waited_for(
    store: Store, tree: StoreTree, put: Callable[[Path], None]
) -> None:
    before = descriptors()
    put(store.directory / "name")
    with pytest.raises(OSError, match=r"not a regular file|symbolic links|No such device"):
        opens(tree, b"name")
    assert descriptors() == before


@pytest.mark.parametrize("size", [SIZE - 1, SIZE + 1])
def test_a_file_of_another_size_is_not_opened(store: Store, tree: StoreTree, size: int) -> None:
    (store.directory / "name").write_bytes(bytes(size))
    with pytest.raises(OSError, match=f"it has {size} bytes instead of {SIZE}"):
        opens(tree, b"name")


@pytest.mark.parametrize("step", ["package", "package/bin", "package/bin/lib"])
def test_no_step_of_a_path_may_be_a_link(store: Store, tree: StoreTree, step: str) -> None:
    place = store.directory / step
    target = store.root / "elsewhere"
    below = Path("package/bin/lib/name").relative_to(step)
    (target / below).parent.mkdir(parents=True)
    (target / below).write_text(OUTSIDE)
    place.parent.mkdir(parents=True, exist_ok=True)
    place.symlink_to(target)
    assert (store.directory / "package/bin/lib/name").read_text() == OUTSIDE
    with pytest.raises(OSError, match=r"symbolic links|Not a directory"):
        opens(tree, b"package", b"bin/lib/name")


def test_no_path_leads_up(store: Store, tree: StoreTree) -> None:
    (store.directory / "package").mkdir()
    (store.directory.parent / "name").write_text(OUTSIDE)
    with pytest.raises(OSError, match="Invalid cross-device link"):
        opens(tree, b"package", b"../../name")
