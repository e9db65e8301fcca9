"""What a CSV file of hosts leads to: each host with its settings, or what is wrong."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from storeboot.cli.table_files import read_csv
from storeboot.errors import StorebootError


def judge(case: dict[str, Any], directory: Path) -> str:
    path = directory / "hosts.csv"
    path.write_bytes(case["file"].encode(case.get("encoding", "utf-8")))
    try:
        found = read_csv(path)
    except StorebootError as error:
        return error.message.replace(f"{directory}/", "")
    return "\n".join(
        f"{name}: " + ", ".join(f"{key}={value!r}" for key, value in _given(section))
        for name, section in found.sections.items()
    )


def _given(section: Any) -> list[tuple[str, Any]]:
    return sorted(section.model_dump(exclude_unset=True, mode="json").items())
