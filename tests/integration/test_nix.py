"""The store, asked through the real Nix."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from integration.stores import QUIET, add, toplevel_tree
from storeboot.deploy.state import make_state_directory
from storeboot.errors import CommandError, StoreError
from storeboot.nix.store import Store, StorePath, registration
from storeboot.process import run


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store(tmp_path / "root")


@pytest.fixture
def system(store: Store, tmp_path: Path) -> StorePath:
    return add(store, toplevel_tree(tmp_path))


def test_closure_and_physical_place(store: Store, system: StorePath) -> None:
    (info,) = store.closure(system)
    assert (info.path, info.references) == (system, ())
    assert info.nar_size > 16384
    assert store.physical(system).joinpath("bin/tool").is_file()


def test_registration_makes_the_path_valid_in_another_store(
    store: Store, system: StorePath, tmp_path: Path
) -> None:
    other = Store(tmp_path / "other")
    other.directory.mkdir(parents=True)
    run(["cp", "-a", store.physical(system), other.directory])
    check: list[str | Path] = [
        "nix-store",
        "--store",
        other.root,
        *QUIET,
        "--verify-path",
        system.text,
    ]
    with pytest.raises(Exception, match="not valid"):
        run(check)
    text = registration(store.closure(system)).encode()
    run(["nix-store", "--store", other.root, *QUIET, "--load-db"], stdin=text)
    run(check)


def test_a_path_that_is_not_there_is_named(store: Store, system: StorePath) -> None:
    missing = StorePath(system.text + "x")
    with pytest.raises(StoreError, match="does not exist"):
        store.closure(missing)


def test_a_directory_that_nix_does_not_know_is_not_valid(store: Store, system: StorePath) -> None:
    stray = StorePath(f"/nix/store/{'0' * 32}-stray")
    store.physical(stray).mkdir()
    with pytest.raises(StoreError, match="not valid"):
        store.closure(stray)


def test_a_nix_that_fails_is_told_in_its_own_words(
    store: Store, system: StorePath, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whatever these are: a path that is valid is not said to be none."""
    (tmp_path / "nix").write_text("#!/bin/sh\necho error: this day is not valid >&2; exit 1\n")
    (tmp_path / "nix").chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path), prepend=os.pathsep)
    with pytest.raises(CommandError, match="this day"):
        store.closure(system)


def test_a_view_keeps_its_system_from_the_garbage_collector(
    store: Store, system: StorePath, tmp_path: Path
) -> None:
    state = make_state_directory(tmp_path / "state")
    record = state.views.add(store, system)
    collect: list[str | Path] = ["nix-store", "--store", store.root, *QUIET, "--gc"]
    run(collect)
    assert store.physical(system).exists()
    assert state.views.get(record.view_id) == record
    (state.path / "roots" / record.view_id).unlink()
    run(collect)
    assert not store.physical(system).exists()
