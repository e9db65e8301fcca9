"""What is said of a configuration file by `serve --dry-run`: its faults, or that it is valid."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from storeboot.config import listed, load
from storeboot.deploy.preview import faults
from storeboot.errors import StorebootError


def judge(case: dict[str, Any], directory: Path) -> str:
    path = directory / "storeboot.toml"
    path.write_bytes(case["file"].encode(case.get("encoding", "utf-8")))
    try:
        found = faults(load(path), with_files=True)
    except StorebootError as error:
        said = error.message
    else:
        said = listed(str(path), [each.message for each in found]) if found else "valid"
    return said.replace(f"{directory}/", "")
