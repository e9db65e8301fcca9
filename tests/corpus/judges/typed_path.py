"""Which system an operator means by what was typed, among links; or why none."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from storeboot.errors import StoreError
from storeboot.nix.store import Store


def judge(case: dict[str, Any], directory: Path) -> str:
    """`links` are below the directory, `typed` too, unless it is absolute; `paths` are in its
    store, whose root is `root`."""
    store = Store(directory / "root")
    for path in case.get("paths", ()):
        (directory / "root" / path.lstrip("/")).mkdir(parents=True, exist_ok=True)
    for name, target in case.get("links", {}).items():
        (directory / name).parent.mkdir(parents=True, exist_ok=True)
        (directory / name).symlink_to(target)
    typed = case["typed"]
    try:
        return store.named(typed if typed.startswith("/") else f"{directory}/{typed}").text
    except StoreError as error:
        return error.message.replace(str(directory), "…")
