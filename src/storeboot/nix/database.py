"""Builds Nix's own database of a closure, on the server, where there is time for it."""

from __future__ import annotations

from pathlib import Path
from tempfile import TemporaryDirectory

from storeboot.errors import CommandError
from storeboot.process import run

# What a machine's Nix finds next to it; it has been 10 since Nix 1.11.
SCHEMA = "10"
SECONDS = 120.0
_INSTALL_NIX = "install Nix (on Debian: apt-get install nix-bin)"


def database(registration: str) -> bytes:
    """Return `/nix/var/nix/db/db.sqlite` of a store with exactly these paths.

    Nix itself makes it in an empty store (nix-store(1), --load-db), so that it contains what that
    Nix writes. Blocking.
    """
    with TemporaryDirectory(prefix="storeboot-") as place:
        argv = ["nix-store", "--store", place, "--load-db"]
        run(argv, stdin=registration.encode(), hint=_INSTALL_NIX, seconds=SECONDS)
        directory = Path(place, "nix", "var", "nix", "db")
        schema = (directory / "schema").read_text().strip()
        if schema != SCHEMA:
            raise CommandError(f"Nix here writes databases of schema {schema}, not {SCHEMA}")
        return (directory / "db.sqlite").read_bytes()
