"""What a system's fstab leads to: each rule's finding, one a line."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from unit.toplevels import Toplevel


def judge(case: dict[str, Any], directory: Path) -> str:
    toplevel = Toplevel(directory)
    toplevel.write("etc/fstab", case["fstab"])
    return "\n".join(f"{each.id}: {each.subject}" for each in toplevel.findings())
