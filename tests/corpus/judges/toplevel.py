"""Whether a toplevel is a system that can boot: its kernel parameters and findings, or why not."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

from storeboot.errors import UnbootableError
from storeboot.initrd.module_tree import read_tree
from unit.toplevels import TOP, Toplevel


def judge(case: dict[str, Any], directory: Path) -> str:
    """`files` are texts, `bytes` hexadecimal, `links` symbolic links, all below the toplevel."""
    toplevel = Toplevel(directory)
    for name in case.get("without", ()):
        place = toplevel.path / name
        shutil.rmtree(place) if place.is_dir() else place.unlink()
    for name, text in case.get("files", {}).items():
        toplevel.write(name, text)
    for name, text in case.get("bytes", {}).items():
        toplevel.write(name, "")
        (toplevel.path / name).write_bytes(bytes.fromhex(text))
    for name, target in case.get("links", {}).items():
        (toplevel.path / name).parent.mkdir(parents=True, exist_ok=True)
        (toplevel.path / name).symlink_to(target)
    try:
        system = toplevel.read()
        read_tree(system.modules)
    except UnbootableError as error:
        return error.message.replace(str(directory), "").replace(TOP, "TOP")
    found = [f"{each.id}: {each.subject}" for each in system.findings]
    return "\n".join(["boots with " + " ".join(system.kernel_params), *found])
