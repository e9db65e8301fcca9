"""Makes a store to measure on: as many inodes as a NixOS closure has, and files to read."""

from __future__ import annotations

import json
from pathlib import Path

from storeboot.deploy.state import make_state_directory
from storeboot.nfs.views import view_id

PATHS = 400  # store paths
FILES = 10  # a directory
DIRECTORIES = 23  # a store path, which has 254 inodes then: 100,000 together
LARGE = 64 << 20  # bytes
LARGE_NUMBER = 10**6  # in its name, behind those of all packages


def make(directory: Path, count: int = PATHS) -> bytes:
    """Fill `directory` with a store and a state that has one view of it all; return the view's id."""
    store = directory / "nix" / "store"
    store.mkdir(parents=True)
    names = [_name(number, f"package-{number}") for number in range(count)]
    for number, name in enumerate(names):
        _package(store / name, number)
    large = _name(LARGE_NUMBER, "large")
    with (store / large).open("wb") as stream:
        for block in range(LARGE >> 20):
            stream.write(bytes([block]) * (1 << 20))
    names.append(large)
    paths = [f"/nix/store/{name}" for name in names]
    state = make_state_directory(directory / "state")
    identity = view_id(paths)
    registration = "".join(f"{path}\n{'0' * 64}\n1\n\n0\n" for path in paths)
    document = {"toplevels": paths, "paths": paths, "registration": registration}
    (state.path / "views" / f"{identity.hex()}.json").write_text(json.dumps(document))
    return identity


def _name(number: int, name: str) -> str:
    return f"{number:032d}-{name}"


def _package(root: Path, number: int) -> None:
    for place in range(DIRECTORIES):
        directory = root / f"share-{place}"
        directory.mkdir(parents=True)
        for file in range(FILES):
            (directory / f"file-{file}").write_bytes(
                bytes(f"{number} {place} {file}\n" * 400, "ascii")[:4096]
            )


def large_name() -> bytes:
    return _name(LARGE_NUMBER, "large").encode()


def package_name(number: int) -> bytes:
    return _name(number, f"package-{number}").encode()
