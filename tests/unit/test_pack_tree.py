"""What a pack is made of, when somebody changes the store meanwhile."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from storeboot.errors import StoreError
from storeboot.nix.store import Store, StorePath
from storeboot.pack.builder import _Writer
from storeboot.pack.tree import inodes

NAME = f"{'p' * 32}-package"
SECRET = b"outside"


@pytest.fixture
def store(tmp_path: Path) -> Store:
    place = tmp_path / "nix" / "store" / NAME / "bin"
    place.mkdir(parents=True)
    (place / "first").write_bytes(b"first")
    (place / "tool").write_bytes(b"tool")
    (tmp_path / "outside").mkdir()
    (tmp_path / "outside" / "tool").write_bytes(SECRET)
    return Store(tmp_path)


def test_a_directory_swapped_for_a_link_is_not_entered(store: Store) -> None:
    found = inodes(store, [StorePath(f"/nix/store/{NAME}")])
    assert [next(found).path, next(found).path] == [NAME.encode(), f"{NAME}/bin".encode()]
    place = store.directory / NAME / "bin"
    place.rename(store.root / "bin")
    place.symlink_to(store.root / "outside")
    with pytest.raises(OSError, match=r"symbolic|directory"):
        next(found)


def test_what_is_in_a_files_place_does_not_get_into_a_pack(store: Store) -> None:
    hot = frozenset({f"{NAME}/bin/tool".encode()})
    place = store.directory / NAME / "bin" / "tool"
    for change in (_link, _fifo, _longer):
        stream = _Writer(store, hot).stream(iter([StorePath(f"/nix/store/{NAME}")]))
        taken = [next(stream)]
        while b"first" not in b"".join(taken):  # both files have been looked at by then
            taken.append(next(stream))
        listed = place.read_bytes()
        place.unlink()
        change(place)
        with pytest.raises((OSError, StoreError)):
            taken += stream
        assert SECRET not in b"".join(taken)
        place.unlink()
        place.write_bytes(listed)


def _link(place: Path) -> None:
    place.symlink_to(place.parents[4] / "outside" / "tool")


def _fifo(place: Path) -> None:
    os.mkfifo(place)


def _longer(place: Path) -> None:
    place.write_bytes(b"longer than it was")
