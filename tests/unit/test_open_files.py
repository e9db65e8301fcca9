from __future__ import annotations

import os
from pathlib import Path

import pytest

from storeboot.deploy.state import StateDirectory
from storeboot.nix.store import Store
from storeboot.serve.store_tree import OpenFiles, StoreTree


def test_the_oldest_are_closed_and_an_asked_for_one_is_always_right(tmp_path: Path) -> None:
    store = Store(tmp_path)
    store.directory.mkdir(parents=True)
    for number in range(10):
        (store.directory / f"file{number}").write_text(str(number))
    before = len(os.listdir("/proc/self/fd"))  # noqa: PTH208
    files = OpenFiles(StoreTree(store, StateDirectory(tmp_path / "state")), limit=3)
    for number in [*range(10), 0, 5, 0]:
        descriptor = files.descriptor(f"file{number}".encode(), b"")
        assert os.pread(descriptor, 10, 0) == str(number).encode()
    assert len(os.listdir("/proc/self/fd")) == before + 3  # noqa: PTH208
    files.close()


def test_a_link_in_a_files_place_is_not_followed(tmp_path: Path) -> None:
    store = Store(tmp_path)
    store.directory.mkdir(parents=True)
    (store.directory / "link").symlink_to("/etc/passwd")
    files = OpenFiles(StoreTree(store, StateDirectory(tmp_path / "state")))
    with pytest.raises(OSError, match="symbolic links"):
        files.descriptor(b"link", b"")
